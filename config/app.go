package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/perennial-oauth/perennial/provider"
)

// appReader resolves one app: the catalogue's entry with the app's settings.
type appReader struct {
	*loader
	key  string // of the app: "apps.0"
	name string // the app's name in messages
	file fileApp
}

// app returns the app. If its client secrets are optional, missing says what is wrong
// with them.
func (l *loader) app(key string, i int, a fileApp) (app provider.App, missing error) {
	r := &appReader{loader: l, key: key, name: "apps: " + a.Name, file: a}
	if !strictyaml.PlainName.MatchString(a.Name) {
		r.name = fmt.Sprintf("apps: number %d", i+1)
	}
	r.needs("name", a.Name)
	app = provider.App{Name: a.Name, ClientID: a.ClientID, Scopes: a.Scopes, Buffer: cmp.Or(provider.BufferProfile(a.Buffer), provider.BufferQueue)}
	if _, fixed := app.Buffer.Fixed(); !fixed && !oneOf(string(app.Buffer), string(provider.BufferQueue), string(provider.BufferRealtime), string(provider.BufferShare)) {
		r.problem("buffer", "must be queue, realtime, share, or a duration from 10s to 1h")
	}
	entry, known := r.entry()
	base, before := entry, len(l.problems)
	entry = a.Over(entry, a.Replace, func(key, text string) { r.problem(key, "%s", text) })
	if known && len(l.problems) == before {
		if err := entry.Validate(); err != nil {
			l.at(key, "%s: %s", r.name, err)
		}
	}
	app.Provider = entry
	if entry.DescribesItself() {
		app.Discovery = &provider.Discovery{Base: base, Own: a.Description, Replace: a.Replace}
	}
	if a.MCP == "" && !entry.CustomersClient() { // else an authorization server or the customer has one
		r.needs("client_id", a.ClientID)
	}
	if a.MaxPerSecond != nil {
		app.MaxRefreshesPerSecond = *a.MaxPerSecond
		if app.MaxRefreshesPerSecond <= 0 || app.MaxRefreshesPerSecond > 10000 {
			r.problem("max_refreshes_per_second", "must be above 0 and at most 10000; leave it out for no limit")
		}
	}
	app.Pacers = r.pacers()
	app.Cadence = cmp.Or(perennial.Cadence(a.Cadence), perennial.CadenceAlways)
	if !oneOf(string(app.Cadence), string(perennial.CadenceAlways), string(perennial.CadenceOnUse)) {
		r.problem("cadence", "must be always or on_use")
	}
	app.ClientSecrets, missing = r.secrets(entry)
	return app, missing
}

// entry returns the entry over which the app's keys are laid: the catalogue's, or that of
// a file. If there is none, it records why.
func (r *appReader) entry() (e provider.Entry, known bool) {
	name := r.file.Provider
	switch {
	case r.file.DescriptionFile != "" && name != "":
		r.problem("description", "and provider are both given: keep one")
		return e, false
	case r.file.DescriptionFile != "":
		return r.described()
	case name == "" && (r.file.Issuer != "" || r.file.MCP != ""):
		return provider.Lookup(provider.Generic)
	case name == "":
		r.needs("provider", "")
		return e, false
	}
	if e, known = provider.Lookup(name); !known {
		r.problem("provider", "%s is not in the catalogue (%s)%s", strictyaml.Shown(name), strings.Join(provider.Names(), ", "), strictyaml.DidYouMean(name, provider.Names()))
	}
	return e, known
}

// described reads the file of a description. A relative path is that from the folder of
// the configuration. No message repeats a path that leads to nothing readable.
func (r *appReader) described() (provider.Entry, bool) {
	path := r.file.DescriptionFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(r.path), path)
	}
	e, err := provider.ReadFile(path)
	var unreadable *fs.PathError
	switch {
	case errors.As(err, &unreadable):
		r.problem("description", "names a file that cannot be read: %s", unreadable.Err)
		return e, false
	case err != nil:
		for line := range strings.Lines(err.Error()) {
			r.problem("description", "%s", strings.TrimSpace(line))
		}
		return e, false
	}
	if _, catalogued := provider.Lookup(e.Name); catalogued {
		r.problem("description", "has the name of a provider of the catalogue: name the file otherwise, or lay its keys over provider: %s", e.Name)
		return e, false
	}
	return e, true
}

// pacers returns the app's pace as a number of pacers: 0 is own.
func (r *appReader) pacers() int {
	switch r.file.Pace {
	case "", "own":
		if r.file.Pacers != nil {
			r.problem("pacers", "is for pace: pooled only")
		}
		return 0
	case "pooled":
	default:
		r.problem("pace", "must be own or pooled")
		return 0
	}
	if r.file.Pacers == nil {
		return defaultPacers
	}
	if n := *r.file.Pacers; n < 1 || n > 256 {
		r.problem("pacers", "must be from 1 to 256")
	}
	return *r.file.Pacers
}

// defaultPacers is the number of pacers of a pooled app: two spread a fleet's work over
// two workers.
const defaultPacers = 2

// problem records a problem of one of the app's keys.
func (r *appReader) problem(key, format string, args ...any) {
	r.at(r.key+"."+key, "%s: %s "+format, append([]any{r.name, key}, args...)...)
}

// needs records a missing value. A value of the wrong type is recorded by its line
// already.
func (r *appReader) needs(key, value string) {
	if value == "" && !r.doc.Wrong[r.doc.Lines[r.key+"."+key]] {
		r.problem(key, "is needed")
	}
}
