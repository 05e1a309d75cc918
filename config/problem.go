package config

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
	"go.yaml.in/yaml/v3"
)

// loader collects the problems of one configuration.
type loader struct {
	path     string
	env      map[string]string
	lines    map[string]int    // of each key and list element: "apps.0.token_url"
	from     map[string]string // by setting: the variable that gave it
	wrong    map[int]bool      // lines with a value of the wrong type
	unread   bool              // part of the file could not be read, so a seemingly missing setting may be in it
	problems []problem

	secretsOptional bool // a client secret that cannot be read is no problem
}

type problem struct {
	line int // 0: of no line
	text string
}

// at records a problem of the value at key. If the key is not in the file, the problem
// belongs to its parent. The text must not have a value of the file in it except
// through [shown]: a secret may be in any wrong place.
func (l *loader) at(key, format string, args ...any) {
	line := l.lines[key]
	for line == 0 && strings.Contains(key, ".") {
		key = key[:strings.LastIndex(key, ".")]
		line = l.lines[key]
	}
	l.problems = append(l.problems, problem{line, fmt.Sprintf(format, args...)})
}

// setting records a problem of a top-level setting, which may come from a variable.
func (l *loader) setting(name, format string, args ...any) {
	if variable, ok := l.from[name]; ok {
		l.at("", "the environment variable "+variable+" "+format, args...)
		return
	}
	l.at(name, name+" "+format, args...)
}

// err joins the problems by line; those without a line come last.
func (l *loader) err() error {
	slices.SortStableFunc(l.problems, func(a, b problem) int {
		if a.line == 0 || b.line == 0 {
			return cmp.Compare(b.line, a.line)
		}
		return cmp.Compare(a.line, b.line)
	})
	var errs []error
	for _, p := range l.problems {
		where := l.path
		if p.line > 0 {
			where += ":" + strconv.Itoa(p.line)
		}
		errs = append(errs, perennial.Errorf(perennial.CodeInvalid, "%s: %s", where, p.text))
	}
	return errors.Join(errs...)
}

// index records the line of every key. It does not follow aliases, whose values have no
// line of their own here.
func (l *loader) index(at string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := join(at, n.Content[i].Value)
			l.lines[key] = n.Content[i].Line
			l.index(key, n.Content[i+1])
		}
	case yaml.SequenceNode:
		for i, element := range n.Content {
			key := join(at, strconv.Itoa(i))
			l.lines[key] = element.Line
			l.index(key, element)
		}
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

var plainName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,40}$`)

// shown quotes a name if it looks like one. Anything else may be a secret in the wrong
// place.
func shown(name string) string {
	if plainName.MatchString(name) {
		return strconv.Quote(name)
	}
	return "(not shown)"
}

// didYouMean suggests the nearest of known, "" if none is near.
func didYouMean(name string, known []string) string {
	best, least := "", min(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
