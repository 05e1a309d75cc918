package config

import (
	"fmt"

	"github.com/perennial-oauth/perennial/internal/strictyaml"
)

// loader collects the problems of one configuration.
type loader struct {
	path     string
	env      map[string]string
	doc      *strictyaml.Document
	from     map[string]string // by setting: the variable that gave it
	problems []strictyaml.Problem

	secretsOptional bool // a client secret that cannot be read is no problem
}

// at records a problem of the value at key. If the key is not in the file, the problem
// belongs to its parent. The text must not have a value of the file in it except
// through [strictyaml.Shown]: a secret may be in any wrong place.
func (l *loader) at(key, format string, args ...any) {
	l.problems = append(l.problems, strictyaml.Problem{Line: l.doc.Line(key), Text: fmt.Sprintf(format, args...)})
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
func (l *loader) err() error { return strictyaml.Join(l.path, l.problems) }
