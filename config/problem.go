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

// loader gathers the problems of one configuration.
type loader struct {
	path     string
	env      map[string]string
	lines    map[string]int    // of each key and list element: "apps.0.token_url"
	from     map[string]string // settings that a variable gave: its name
	wrong    map[int]bool      // lines with a value of the wrong type
	unread   bool              // part of the file could not be read: what seems missing may be there
	problems []problem

	secretsOptional bool // client secrets that cannot be read are no problem
}

type problem struct {
	line int // 0: of no line
	text string
}

// at notes a problem of the value at key, or where it is not in the file, of
// what it would stand in. What it is told must hold no value of the file but
// through [shown]: a secret may stand at any wrong place.
func (l *loader) at(key, format string, args ...any) {
	line := l.lines[key]
	for line == 0 && strings.Contains(key, ".") {
		key = key[:strings.LastIndex(key, ".")]
		line = l.lines[key]
	}
	l.problems = append(l.problems, problem{line, fmt.Sprintf(format, args...)})
}

// setting notes a problem of a top-level setting, which a variable may have given.
func (l *loader) setting(name, format string, args ...any) {
	if variable, ok := l.from[name]; ok {
		l.at("", "the environment variable "+variable+" "+format, args...)
		return
	}
	l.at(name, name+" "+format, args...)
}

// err joins the problems, by line; those of no line come last.
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

// index notes the line of every key. Aliases are not followed: what they give
// has no line of its own here.
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

// shown quotes a name that looks like one. Anything else may be a secret at the
// wrong place.
func shown(name string) string {
	if plainName.MatchString(name) {
		return strconv.Quote(name)
	}
	return "(not shown)"
}

// didYouMean suggests the nearest of known, "" where none is near.
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

// distance is Levenshtein's.
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
