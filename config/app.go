package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"golang.org/x/oauth2"
)

// app resolves one app: the catalogue's entry with its settings laid over. used
// are the environment variables that it reads.
func (l *loader) app(i int, a fileApp) (app provider.App, used []string) {
	where := "apps: " + a.Name
	if a.Name == "" {
		where = fmt.Sprintf("apps: number %d", i+1)
		l.problem("%s: name is needed", where)
	}
	entry, ok := provider.Lookup(a.Provider)
	if !ok {
		l.problem("%s: provider %q is not in the catalogue (%s)", where, a.Provider, strings.Join(provider.Names(), ", "))
		return provider.App{Name: a.Name}, nil
	}
	l.overlay(where, &entry, a)
	app = provider.App{Name: a.Name, Provider: entry, ClientID: a.ClientID, Scopes: a.Scopes, Buffer: provider.BufferQueue}
	if a.ClientID == "" {
		l.problem("%s: client_id is needed", where)
	}
	if a.Buffer != "" {
		l.oneOf(where+": buffer", a.Buffer, string(provider.BufferQueue), string(provider.BufferRealtime), string(provider.BufferShare))
		app.Buffer = provider.BufferProfile(a.Buffer)
	}
	app.ClientSecrets = l.secrets(where, a)
	return app, a.ClientSecretEnv
}

func (l *loader) overlay(where string, e *provider.Entry, a fileApp) {
	for _, u := range []struct {
		key, value string
		to         *string
	}{
		{"auth_url", a.AuthURL, &e.AuthURL}, {"token_url", a.TokenURL, &e.TokenURL},
		{"introspect_url", a.IntrospectURL, &e.IntrospectURL}, {"revoke_url", a.RevokeURL, &e.RevokeURL},
	} {
		if u.value == "" {
			continue
		}
		if why := badURL(u.value); why != "" {
			l.problem("%s: %s %s", where, u.key, why)
		}
		*u.to = u.value
	}
	if a.Title != "" {
		e.Title = a.Title
	}
	switch a.AuthStyle {
	case "":
	case "header":
		e.AuthStyle = oauth2.AuthStyleInHeader
	case "params":
		e.AuthStyle = oauth2.AuthStyleInParams
	default:
		l.problem("%s: auth_style must be header or params", where)
		return
	}
	if a.ReplayClass != "" {
		e.ReplayClass, e.ReplaySource = perennial.ReplayClass(a.ReplayClass), "the configuration"
	}
	if d := l.duration(where+": grace_window", a.GraceWindow); d > 0 {
		e.GraceWindow = d
	}
	if d := l.duration(where+": default_lifetime", a.DefaultLifetime); d > 0 {
		e.DefaultLifetime = d
	}
	if d := l.duration(where+": idle_lifetime", a.IdleLifetime); d > 0 {
		e.IdleLifetime = d
	}
	if d := l.duration(where+": grant_lifetime", a.GrantLifetime); d > 0 {
		e.GrantLifetime = d
	}
	if a.MetadataFields != nil {
		e.MetadataFields = a.MetadataFields
	}
	if err := e.Validate(); err != nil {
		l.problem("%s: %s", where, err)
	}
}

// badURL says what is wrong with a provider's URL, "" for nothing. Tokens travel
// over TLS only, but for this machine itself.
func badURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
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

// secrets reads the client secrets at once, so that a missing one is found at
// start. Their values are in no message.
func (l *loader) secrets(where string, a fileApp) []perennial.Secret {
	if len(a.ClientSecretEnv) > 0 && len(a.ClientSecretFile) > 0 {
		l.problem("%s: give client_secret_env or client_secret_file, not both", where)
		return nil
	}
	if len(a.ClientSecretEnv)+len(a.ClientSecretFile) == 0 {
		l.problem("%s: client_secret_env or client_secret_file is needed", where)
		return nil
	}
	var out []perennial.Secret
	add := func(value, from string) {
		if value = strings.TrimRight(value, "\r\n"); value == "" {
			l.problem("%s: %s is empty", where, from)
			return
		}
		out = append(out, perennial.NewSecret(value))
	}
	for _, name := range a.ClientSecretEnv {
		value, ok := l.env[name]
		if !ok {
			l.problem("%s: the environment variable %s (client_secret_env) is not set", where, name)
			continue
		}
		add(value, "the environment variable "+name)
	}
	for _, path := range a.ClientSecretFile {
		raw, err := os.ReadFile(path)
		if err != nil {
			l.problem("%s: client_secret_file: %s", where, err)
			continue
		}
		add(string(raw), "the file "+path)
	}
	return slices.Clip(out)
}
