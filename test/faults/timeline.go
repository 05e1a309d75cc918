package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The summary shows so many broken connections, and so many lines of each: enough to
// judge by after the folder is deleted.
const (
	toldOf = 2
	shown  = 16
)

// tell keeps the timelines of the connections that are broken by now.
func (r *round) tell() {
	r.mu.Lock()
	broken := maps.Clone(r.broken)
	r.mu.Unlock()
	for _, what := range sortedKeys(broken) {
		if c := broken[what]; c != nil && r.timelines[c.account] == nil && len(r.timelines) < toldOf {
			r.timelines[c.account] = r.timeline(c)
		}
	}
}

// moment is one line of a timeline.
type moment struct {
	at   time.Time
	text string
}

// timeline returns what happened to a connection until now, or until its provider first
// saw the consumed token that it was shown last: the seams that it passed, what the
// workers logged of it, what its provider saw, and the faults between.
func (r *round) timeline(c *conn) []string {
	var moments []moment
	var end time.Time
	var consumed string
	for _, p := range r.provider.Oracle().Presentations {
		if p.Grant != clientOf(c.app)+"/"+c.account {
			continue
		}
		text := "provider saw " + p.Digest[:min(8, len(p.Digest))]
		if p.AfterConsumed {
			text += ", consumed"
			if p.Digest != consumed {
				consumed, end = p.Digest, p.At.Add(2*time.Second)
			}
		}
		if p.Undelivered {
			text += ", undelivered"
		}
		if p.Left {
			text += fmt.Sprintf(", left after %s", p.After)
		}
		moments = append(moments, moment{p.At, text})
	}
	moments = append(moments, r.seamsOf(c)...)
	logs, _ := filepath.Glob(r.file("worker-*.log"))
	for _, path := range logs {
		moments = append(moments, logOf(path, c)...)
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return a.at.Compare(b.at) })
	if !end.IsZero() {
		moments = slices.DeleteFunc(moments, func(m moment) bool { return m.at.After(end) })
	}
	var lines []string
	for _, m := range moments[max(0, len(moments)-shown):] {
		lines = append(lines, m.at.Format("15:04:05.000 ")+m.text)
	}
	return lines
}

// seamsOf reads the connection's seams, and the faults, from the book of seams.
func (r *round) seamsOf(c *conn) (out []moment) {
	eachLine(r.file("seams.log"), func(line string) {
		at, err := time.ParseInLocation(time.StampMilli, line[:min(len(time.StampMilli), len(line))], time.Local)
		if err != nil {
			return
		}
		at = at.AddDate(time.Now().Year(), 0, 0)
		words := strings.Fields(line[len(time.StampMilli):])
		switch {
		case len(words) == 1: // a fault
			out = append(out, moment{at, "FAULT " + words[0]})
		case len(words) == 3 && words[2] == c.id:
			out = append(out, moment{at, "seam " + words[0] + " " + words[1]})
		}
	})
	return out
}

// logOf reads what a worker logged of the connection.
func logOf(path string, c *conn) (out []moment) {
	eachLine(path, func(line string) {
		var l map[string]any
		if !strings.Contains(line, c.id) || json.Unmarshal([]byte(line), &l) != nil || l["connection_id"] != c.id {
			return
		}
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(l["time"]))
		if err != nil {
			return
		}
		text := strings.TrimSuffix(filepath.Base(path), ".log") + " " + fmt.Sprint(l["msg"])
		for _, key := range []string{"trigger", "generation", "new_generation", "outcome", "error_class", "duration_ms", "error"} {
			if v, ok := l[key]; ok {
				text += fmt.Sprintf(" %s=%.80v", key, v)
			}
		}
		out = append(out, moment{at.Local(), text})
	})
	return out
}

// eachLine reads a file's lines. A file that cannot be read has none.
func eachLine(path string, do func(line string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(lines.Text())
	}
}
