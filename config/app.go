package config

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
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
	if !plainName.MatchString(a.Name) {
		r.name = fmt.Sprintf("apps: number %d", i+1)
	}
	r.needs("name", a.Name)
	r.needs("client_id", a.ClientID)
	app = provider.App{Name: a.Name, ClientID: a.ClientID, Scopes: a.Scopes, Buffer: cmp.Or(provider.BufferProfile(a.Buffer), provider.BufferQueue)}
	if !oneOf(string(app.Buffer), string(provider.BufferQueue), string(provider.BufferRealtime), string(provider.BufferShare)) {
		r.problem("buffer", "must be queue, realtime or share")
	}
	entry, known := provider.Lookup(a.Provider)
	if a.Provider == "" {
		r.needs("provider", "")
	} else if !known {
		r.problem("provider", "%s is not in the catalogue (%s)%s", shown(a.Provider), strings.Join(provider.Names(), ", "), didYouMean(a.Provider, provider.Names()))
	}
	before := len(l.problems)
	r.overlay(&entry)
	if known && len(l.problems) == before {
		if err := entry.Validate(); err != nil {
			l.at(key, "%s: %s", r.name, err)
		}
	}
	app.Provider = entry
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
	app.ClientSecrets, missing = r.secrets()
	return app, missing
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
	if value == "" && !r.wrong[r.lines[r.key+"."+key]] {
		r.problem(key, "is needed")
	}
}

// hostOf returns a URL's host and port, "" if the URL cannot be parsed.
func hostOf(raw string) string {
	u, err := url.Parse(strings.ReplaceAll(raw, "{host}", "host.invalid"))
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}

func (r *appReader) overlay(e *provider.Entry) {
	a := r.file
	if a.TokenURL != "" && hostOf(a.TokenURL) != hostOf(e.TokenURL) {
		// The catalogue's endpoints must not get another server's tokens.
		e.IntrospectURL, e.RevokeURL = "", ""
	}
	for _, u := range []struct {
		key, value string
		to         *string
	}{
		{"auth_url", a.AuthURL, &e.AuthURL},
		{"token_url", a.TokenURL, &e.TokenURL},
		{"introspect_url", a.IntrospectURL, &e.IntrospectURL},
		{"revoke_url", a.RevokeURL, &e.RevokeURL},
	} {
		if u.value == "" {
			continue
		}
		if why := badURL(u.value, a.Hosts); why != "" {
			r.problem(u.key, "%s", why)
		}
		*u.to = u.value
	}
	for _, d := range []struct {
		key, value string
		to         *time.Duration
	}{
		{"grace_window", a.GraceWindow, &e.GraceWindow},
		{"default_lifetime", a.DefaultLifetime, &e.DefaultLifetime},
		{"idle_lifetime", a.IdleLifetime, &e.IdleLifetime},
		{"grant_lifetime", a.GrantLifetime, &e.GrantLifetime},
	} {
		*d.to = cmp.Or(r.duration(r.key+"."+d.key, r.name+": "+d.key, d.value), *d.to)
	}
	e.Title = cmp.Or(a.Title, e.Title)
	switch a.AuthStyle {
	case "":
	case "header":
		e.AuthStyle = oauth2.AuthStyleInHeader
	case "params":
		e.AuthStyle = oauth2.AuthStyleInParams
	default:
		r.problem("auth_style", "must be header or params")
	}
	if a.ReplayClass != "" {
		var classes []string
		for _, class := range perennial.ReplayClasses {
			classes = append(classes, string(class))
		}
		if !oneOf(a.ReplayClass, classes...) {
			r.problem("replay_class", "must be one of %s", strings.Join(classes, ", "))
		}
		e.ReplayClass, e.ReplaySource = perennial.ReplayClass(a.ReplayClass), "the configuration"
	}
	if a.MetadataFields != nil {
		e.MetadataFields = a.MetadataFields
	}
	if a.Hosts != nil {
		e.HostSuffixes = a.Hosts
	}
	if a.AuthParams != nil {
		e.AuthParams = a.AuthParams
	}
	if a.Issuer != "" {
		e.Issuer = a.Issuer
	}
	if a.IssuerSent != nil {
		e.IssuerSent = *a.IssuerSent
	}
	if a.Account != nil {
		r.account(e, *a.Account)
	}
	switch a.RateLimitScope {
	case "":
	case "connection":
		e.RateLimitScope = provider.ScopeConnection
	case string(provider.ScopeApp), string(provider.ScopeHost):
		e.RateLimitScope = provider.RateLimitScope(a.RateLimitScope)
	default:
		r.problem("rate_limit_scope", "must be connection, app or host")
	}
}

func (r *appReader) account(e *provider.Entry, a fileAccount) {
	e.Account = provider.AccountSource{From: provider.AccountFrom(a.From), Name: a.Name, URL: a.URL}
	var from []string
	for _, f := range provider.AccountsFrom {
		from = append(from, string(f))
	}
	if !oneOf(a.From, from...) {
		r.problem("account.from", "must be one of %s", strings.Join(from, ", "))
	}
	if a.URL != "" {
		if why := badURL(strings.ReplaceAll(a.URL, "{account}", "x"), e.HostSuffixes); why != "" {
			r.problem("account.url", "%s", why)
		}
	}
}

// badURL says what is wrong with a provider's URL, "" if nothing is. {host} in it
// stands for each of hosts.
func badURL(raw string, hosts []string) string {
	if !strings.Contains(raw, "{host}") {
		return badPlainURL(raw)
	}
	if len(hosts) == 0 {
		return "has a {host}: say in hosts which there may be"
	}
	for _, host := range hosts {
		if strings.HasPrefix(host, ".") {
			host = "x" + host
		}
		if why := badPlainURL(strings.ReplaceAll(raw, "{host}", host)); why != "" {
			return why
		}
	}
	return ""
}

// badPlainURL is badURL for one URL. Tokens may travel only over TLS, except within
// this machine.
func badPlainURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "":
		return "is not a whole URL"
	case u.User != nil || u.Fragment != "":
		return "must not hold credentials or a fragment"
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return ""
	default:
		return "must begin with https:// (http:// only on this machine)"
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
