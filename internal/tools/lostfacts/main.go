// Command lostfacts lists what a rewriting of comments and documents may have lost: every
// number, with its unit, RFC, URL, issue and identifier that stood in one at the commit BASE
// and stands nowhere in the tree of the commit HEAD.
//
//	lostfacts [-renamed FILE] BASE [HEAD]
//
// FILE has a line "old new" for each identifier that got another name; it is lost only if
// the new name is nowhere either.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
)

func main() {
	renamed := flag.String("renamed", "", "file of renamed identifiers")
	flag.Parse()
	head := "HEAD"
	if flag.NArg() > 1 {
		head = flag.Arg(1)
	}
	if err := run(flag.Arg(0), head, *renamed); err != nil {
		fmt.Fprintln(os.Stderr, "lostfacts:", err)
		os.Exit(1)
	}
}

func run(base, head, renamed string) error {
	names := map[string]string{}
	if renamed != "" {
		raw, err := os.ReadFile(renamed)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(raw)) {
			if words := strings.Fields(line); len(words) == 2 {
				names[words[0]] = words[1]
			}
		}
	}
	before, err := tree(base)
	if err != nil {
		return err
	}
	after, err := tree(head)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for name, text := range after {
		for _, f := range append(facts(text), facts(flat(prose(name, text)))...) {
			there[f] = true
		}
	}
	lost := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		for _, f := range facts(flat(prose(name, before[name]))) {
			if !there[f] && !there[names[f]] && lost[f] == "" {
				lost[f] = name
			}
		}
	}
	for f := range maps.Clone(lost) { // "47 s" says all that "47" says
		if number, _, ok := strings.Cut(f, " "); ok {
			delete(lost, number)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(lost)) {
		fmt.Printf("%s\t%s\n", f, lost[f])
	}
	return nil
}

// tree reads the text files of a commit.
func tree(commit string) (map[string]string, error) {
	raw, err := exec.Command("git", "archive", "--format=tar", commit).Output()
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", commit, err)
	}
	out := map[string]string{}
	archive := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg && !bytes.ContainsRune(content, 0) {
			out[h.Name] = string(content)
		}
	}
}

// prose returns the comments of a program, or the whole of a document.
func prose(name, text string) string {
	mark := ""
	switch path.Ext(name) {
	case ".md":
		return text
	case ".go":
		return goComments(text)
	case ".sql":
		mark = "--"
	case ".yaml", ".yml", ".sh":
		mark = "#"
	default:
		if base := path.Base(name); base == "Makefile" || base == "Dockerfile" || strings.HasPrefix(text, "#!") {
			mark = "#"
		}
	}
	if mark == "" {
		return ""
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		// Within a word the mark is no comment: ${name#prefix}, $#.
		if i := strings.Index(" "+line, " "+mark); i >= 0 {
			out.WriteString(line[i+len(mark):])
		} else if i := strings.Index(line, "\t"+mark); i >= 0 {
			out.WriteString(line[i+1+len(mark):])
		}
	}
	return out.String()
}

// flat undoes the breaks of lines: "30" may end one and "min" begin the next.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func goComments(text string) string {
	var s scanner.Scanner
	file := token.NewFileSet().AddFile("", -1, len(text))
	s.Init(file, []byte(text), func(token.Position, string) {}, scanner.ScanComments) // testdata may be no Go
	var out strings.Builder
	for {
		_, t, lit := s.Scan()
		switch t {
		case token.EOF:
			return out.String()
		case token.COMMENT:
			for line := range strings.Lines(lit) {
				out.WriteString(strings.TrimPrefix(line, "//"))
			}
			out.WriteByte('\n')
		}
	}
}

// A fact is a URL, an RFC, an issue's number, a number, or a name that prose does not have:
// with a capital or an underscore inside, or with parts that dots join.
var fact = regexp.MustCompile(`https?://[^\s)"'>\]]+|\bRFC[ -]?\d+|#\d+\b|\d[\d,.:/]*\d|\d|\b[A-Za-z]+[_A-Z.][A-Za-z0-9_.]*[A-Za-z0-9]\b`)

// measure is a number with its unit, in prose (30 min) and in Go (30 * time.Minute).
var measure = regexp.MustCompile(`(\d[\d,.]*)(?:[ -]?(%|(?:ns|µs|us|ms|s|min|m|h|d|[KMG]i?B|kB)\b|(?:nano|micro|milli)?seconds?\b|minutes?\b|hours?\b|days?\b|weeks?\b|months?\b|years?\b|bytes?\b|bits?\b|characters?\b)|\s*\*\s*time\.(\w+))`)

// units has one spelling for each unit.
var units = map[string]string{
	"nanosecond": "ns", "us": "µs", "microsecond": "µs", "millisecond": "ms", "second": "s",
	"minute": "min", "m": "min", "hour": "h", "day": "d",
}

func facts(text string) []string {
	all := fact.FindAllString(text, -1)
	for i, f := range all {
		f = strings.TrimRight(f, ".,:")
		if number, ok := strings.CutPrefix(f, "RFC"); ok && number != "" {
			f = "RFC " + strings.TrimLeft(number, " -")
		}
		all[i] = f
	}
	for _, m := range measure.FindAllStringSubmatch(text, -1) {
		unit := m[2]
		if unit == "" {
			unit = m[3]
		}
		if len(unit) > 2 {
			unit = strings.TrimSuffix(strings.ToLower(unit), "s")
		}
		if short, ok := units[unit]; ok {
			unit = short
		}
		all = append(all, strings.TrimRight(m[1], ".,")+" "+unit)
	}
	return all
}
