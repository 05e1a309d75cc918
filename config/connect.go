package config

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/plainurl"
)

// connect checks the settings of connect links and adds their variables to known. All
// are optional: without a base_url there are no links.
func (l *loader) connect(f fileConnect, known map[string]bool) Connect {
	for _, s := range []struct {
		name string
		to   *string
	}{{"base_url", &f.BaseURL}, {"reconnect_url", &f.ReconnectURL}, {"product", &f.Product}, {"help_url", &f.HelpURL}, {"lifetime", &f.Lifetime}} {
		*s.to = cmp.Or(l.variable("connect_"+s.name, known), *s.to)
	}
	if list := l.variable("connect_return_urls", known); list != "" {
		f.ReturnURLs = strings.Split(list, ",")
		for i, u := range f.ReturnURLs {
			f.ReturnURLs[i] = strings.TrimSpace(u)
		}
	}
	for i, u := range f.ReturnURLs {
		l.connectProblem(fmt.Sprintf("return_urls.%d", i), badURLWithoutQuery(u))
	}
	for _, s := range []struct {
		name, value string
		bad         func(string) string
	}{{"base_url", f.BaseURL, badURLWithoutQuery}, {"reconnect_url", f.ReconnectURL, badReconnectURL}, {"help_url", f.HelpURL, plainurl.Bad}} {
		if s.value != "" {
			l.connectProblem(s.name, s.bad(s.value))
		}
	}
	return Connect{BaseURL: strings.TrimSuffix(f.BaseURL, "/"), ReturnURLs: f.ReturnURLs, ReconnectURL: f.ReconnectURL, Product: f.Product, HelpURL: f.HelpURL,
		Lifetime: l.lifetime(f.Lifetime), BoundOnly: l.boolean("connect_bound_only", f.BoundOnly, known)}
}

// lifetime parses the lifetime of a link.
func (l *loader) lifetime(value string) time.Duration {
	at, where := "connect.lifetime", "connect: lifetime"
	if variable, ok := l.from["connect_lifetime"]; ok {
		at, where = "", "the environment variable "+variable
	}
	d := l.duration(at, where, value)
	if d != 0 && (d < time.Minute || d > 24*time.Hour) {
		l.at(at, "%s must be from 1m to 24h", where)
	}
	return d
}

// connectProblem records what is wrong with the setting at key, if anything is.
func (l *loader) connectProblem(key, why string) {
	name, _, _ := strings.Cut(key, ".")
	switch _, given := l.from["connect_"+name]; {
	case why == "":
	case given:
		l.setting("connect_"+name, "%s", why)
	default:
		l.at("connect."+key, "connect: %s %s", name, why)
	}
}

func badURLWithoutQuery(raw string) string {
	why := plainurl.Bad(raw)
	if u, err := url.Parse(raw); why == "" && err == nil && u.RawQuery != "" {
		return "must not hold a query"
	}
	return why
}

// reconnectURL fills the placeholders of a reconnect_url. A value of the connection
// cannot change anything but its own place.
func reconnectURL(template string, c perennial.Connection) string {
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	return strings.NewReplacer("{connection_id}", escape(c.ID), "{tenant_id}", escape(c.TenantID), "{app}", escape(c.App)).Replace(template)
}

func badReconnectURL(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	filled := reconnectURL(raw, perennial.Connection{ID: "x", TenantID: "x", App: "x"})
	switch {
	case strings.ContainsAny(host, "{}"):
		return "must name its host: placeholders stand after it"
	case strings.ContainsAny(filled, "{}"):
		return "takes the placeholders {connection_id}, {tenant_id} and {app}, and no other"
	}
	return plainurl.Bad(filled)
}

// Links returns the URLs for a customer whose connection needs a reconnect: the
// product's own page, and help. Each is "" if not configured.
func (c Connect) Links(con perennial.Connection) (reconnect, help string) {
	return reconnectURL(c.ReconnectURL, con), c.HelpURL
}
