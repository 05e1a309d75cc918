package provider

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"golang.org/x/oauth2"
)

// TestCatalogueFiles: every file of the catalogue is whole and names its schema.
func TestCatalogueFiles(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		raw, err := files.ReadFile(path(name))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(raw), "# yaml-language-server: $schema=schema.json\n"), name)
		e, err := ReadDescription(path(name), name, raw)
		require.NoError(t, err)
		if name != Generic {
			assert.NotEmpty(t, e.Evidence, name)
		}
	}
}

// written returns the file of an entry.
func written(t testing.TB, e Entry) []byte {
	raw, err := yaml.Marshal(Describe(e))
	require.NoError(t, err)
	return raw
}

// TestDescribe: the description of an entry, read again, is the entry.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		e := entry(t, name)
		got, err := ReadDescription("p.yaml", name, written(t, e))
		require.NoError(t, err)
		assert.Equal(t, e, got)
	}
}

// TestDescriptionIsWhole: a description can say everything that an entry has, and nothing
// that an entry has not.
func TestDescriptionIsWhole(t *testing.T) {
	t.Parallel()
	full := fill.Of[Entry]()
	full.AuthStyle = oauth2.AuthStyleInHeader
	full.RequestHeaders = map[string]string{"X-Version": "1"}
	for _, d := range []*time.Duration{&full.GraceWindow, &full.RefreshWithin, &full.DefaultLifetime, &full.IdleLifetime, &full.GrantLifetime, &full.LifetimeUnit} {
		*d = time.Hour
	}
	d := Describe(full)
	assert.Empty(t, fill.Zeros(d))
	assert.Equal(t, full, d.Over(Entry{Name: full.Name}, false, func(string, string) {}), "the texts that fill it are no known words, but all arrive")
	assert.Equal(t, full, Description{}.Over(full, true, func(key, text string) { t.Errorf("%s %s", key, text) }), "a description that says nothing changes nothing")
}

// TestSpans: days, and everything that a duration may be.
func TestSpans(t *testing.T) {
	t.Parallel()
	for s, want := range map[Span]time.Duration{"90d": 90 * day, "1d": day, "2400h": 100 * day, "30m": 30 * time.Minute, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond} {
		got, ok := s.duration()
		assert.True(t, ok, s)
		assert.Equal(t, want, got, s)
	}
	for _, s := range []Span{"", "d", "0d", "-1d", "1.5d", "1d2h", "106752d", "99999999999999999999d", "0s", "-1h", "1", "1 hour"} {
		_, ok := s.duration()
		assert.False(t, ok, s)
	}
	for d, want := range map[time.Duration]Span{0: "", day: "1d", 100 * day: "100d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", 30 * time.Second: "30s", time.Minute: "1m", 61 * time.Second: "1m1s", time.Hour + time.Second: "1h0m1s", 20 * time.Minute: "20m", 100 * time.Hour: "100h"} {
		assert.Equal(t, want, spanOf(d))
	}
}

const secret = "sk-live-51H8zxQ"

// TestWrongDescriptions: each problem is a line that names the file, the line of the
// value, and what to do; it repeats no value.
func TestWrongDescriptions(t *testing.T) {
	t.Parallel()
	const good = "title: Acme\ntoken_url: https://acme.example/t\nauth_style: header\nreplay_class: unknown\nreplay_source: not documented\n"
	_, err := ReadDescription("acme.yaml", "acme", []byte(good))
	require.NoError(t, err)
	for add, want := range map[string][]string{
		"tokens_undr: data":                                       {`acme.yaml:6: unknown key "tokens_undr"; did you mean tokens_under?`},
		"name: acme":                                              {`acme.yaml:6: unknown key "name"`},
		secret + ": x":                                            {"acme.yaml:6: unknown key (not shown)"},
		"issuer: [" + secret + "]":                                {"acme.yaml:6: this key does not take a list"},
		"title: " + secret:                                        {"acme.yaml:6: this key is given already at line 1"},
		"revoke_url: ftp://x/" + secret:                           {"acme.yaml:6: revoke_url must begin with https:// (http:// only on this machine)"},
		"revoke_url: https://{host}/x":                            {"acme.yaml:6: revoke_url has a {host}: say in hosts which there may be"},
		"refresh_url: https://other.example/r":                    {"acme.yaml: refresh_url must be at the host of token_url"},
		"refresh_url: x/" + secret:                                {"acme.yaml:6: refresh_url is not a whole URL"},
		"idle_lifetime: " + secret:                                {`acme.yaml:6: idle_lifetime must be a duration above zero, for example "30s", "30m" or "90d", or none`},
		"rate_limit_scope: " + secret:                             {"acme.yaml:6: rate_limit_scope must be one of connection, app, host"},
		"account: {from: " + secret + "}":                         {"acme.yaml:6: account.from must be one of callback, reply, id_token, introspection, url, host, credentials"},
		"account: {from: url, name: id}":                          {"acme.yaml: account from url needs a url"},
		"issuer_sent: true":                                       {"acme.yaml: issuer_sent needs an issuer"},
		"secret_as_user: true\nhosts: [.]":                        {"acme.yaml:7: hosts.0 must be a host's name in lower case, without a scheme, a port and a path"},
		"rotation: " + secret:                                     {"acme.yaml:6: rotation must be one of always, sometimes, never, unknown"},
		"grants_per_user: -1":                                     {"acme.yaml:6: grants_per_user must be above zero; leave it out if no limit is known"},
		"api_hosts: [api.acme.example, .com, https://x]":          {"acme.yaml:6: api_hosts.1 is open to everybody: name a domain of the provider", "acme.yaml:6: api_hosts.2 must be a host's name in lower case, without a scheme, a port and a path"},
		"setup: {registr: x}":                                     {`acme.yaml:6: unknown key "registr"; did you mean register?`},
		"evidence:\n  - {facts: [], by: provider, date: 2026-11}": {"acme.yaml:7: evidence.0.facts must name at least one fact"},
		"evidence:\n  - {facts: [replai], by: someone, source: x, date: 2026-11}":     {"acme.yaml:7: evidence.0.facts.0 must be one of endpoints, rotation, replay, lifetime, idle_clock, hard_clock, refusal, wrong_client, rate_limit, account, revocation, scopes; did you mean replay?", "acme.yaml:7: evidence.0.by must be one of provider, third_party, measured, not_documented"},
		"evidence:\n  - {facts: [replay], by: provider, source: x, date: last year}":  {"acme.yaml:7: evidence.0.date must say when it was looked up: 2026-11-28, or 2026-11"},
		"evidence:\n  - {facts: [replay], by: provider, source: x, date: 2026-11-31}": {"acme.yaml:7: evidence.0.date must say when it was looked up: 2026-11-28, or 2026-11"},
		"evidence:\n  - {facts: [replay], by: provider, date: 2026-11-28}":            {"acme.yaml:7: evidence.0.source is needed: the address of the page, or its title"},
		"api_spellings:\n  - {http_status: 200, means: token}\n  - {means: token}\n  - {http_status: 302, code: x, means: token}\n  - {http_status: 403, code: x, means: not_permitted}\n  - {code: x, means: tokn}": {
			"acme.yaml:7: api_spellings.0 needs a code or contains: without them it matches every reply of that status", "acme.yaml:8: api_spellings.1 needs a code or contains: without them it matches every reply of that status",
			"acme.yaml:9: api_spellings.2.http_status must be of a success or a client error: from 200 to 299, or from 400 to 499",
			"acme.yaml:10: api_spellings.3.means must be token: any other status than 401 goes to the caller as it is", "acme.yaml:11: api_spellings.4.means must be one of token, not_permitted; did you mean token?"},
		"read_posts: ['x', '/a[']": {"acme.yaml:6: read_posts.0 must be a path that begins with a slash; * stands for one segment", "acme.yaml:6: read_posts.1 must be a path that begins with a slash; * stands for one segment"},
		"--- {}":                   {"acme.yaml: holds more than one YAML document; only one is read"},
		"\tx: 1":                   {"acme.yaml:5: not readable as YAML: found a tab character that violates indentation"},
	} {
		_, err := ReadDescription("acme.yaml", "acme", []byte(good+add+"\n"))
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), add)
		assert.Equal(t, strings.Join(want, "\n"), err.Error(), add)
		assert.NotContains(t, err.Error(), secret)
	}
}

// TestReserved: no spelling of a member that is ours can be overlaid.
func TestReserved(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"grant_type", "refresh_token", "code", "client_id", "client_secret", "redirect_uri", "code_verifier", "state", "code_challenge", "code_challenge_method"} {
		for _, spelled := range []string{name, strings.ToUpper(name), " " + name + "\t"} {
			reported := map[string]string{}
			d := Description{RefreshParams: map[string]string{spelled: secret}, AuthParams: map[string]string{spelled: secret}}
			d.Over(Entry{}, false, func(key, text string) { reported[key] = text })
			const why = "is set by Perennial itself: leave it out"
			assert.Equal(t, map[string]string{"refresh_params." + spelled: why, "auth_params." + spelled: why}, reported)
		}
	}
}

// TestSetupIsMerged: an app that names another sandbox need not repeat where an app is
// registered.
func TestSetupIsMerged(t *testing.T) {
	t.Parallel()
	e := Entry{Setup: Setup{Register: "https://acme.example/apps", Sandbox: "none"}}
	d := Description{Setup: &Setup{Sandbox: "https://sandbox.acme.example"}}
	wrong := func(key, text string) { t.Errorf("%s %s", key, text) }
	assert.Equal(t, Setup{Register: "https://acme.example/apps", Sandbox: "https://sandbox.acme.example"}, d.Over(e, false, wrong).Setup)
	assert.Equal(t, *d.Setup, d.Over(e, true, wrong).Setup)
	assert.Equal(t, e.Setup, Description{}.Over(e, true, wrong).Setup)
}

// FuzzReadDescription reads any bytes: there is no panic, and what is read, written and
// read again is the same.
func FuzzReadDescription(f *testing.F) {
	for _, name := range Names() {
		raw, err := files.ReadFile(path(name))
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ReadDescription("p.yaml", "p", raw)
		if err != nil {
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
			return
		}
		again, err := ReadDescription("p.yaml", "p", written(t, e))
		require.NoError(t, err)
		require.Equal(t, string(written(t, e)), string(written(t, again)))
	})
}

// TestAPIOfTheCatalogue: what the client's own table says of an API, the catalogue says
// too. What the table does not have, the client hears with each connection, so that an
// entry needs no Go.
func TestAPIOfTheCatalogue(t *testing.T) {
	t.Parallel()
	known := 0
	for _, name := range Names() {
		if of := resource.Of(name); !reflect.DeepEqual(of, resource.Server{}) {
			assert.Equal(t, of, entry(t, name).API, name)
			known++
		}
	}
	assert.NotZero(t, known)
}

// TestClocksOfAnApp: clocks that an app's owner sets at the provider take the place of the
// entry's, or turn them off; what the app does not name stays.
func TestClocksOfAnApp(t *testing.T) {
	t.Parallel()
	e := Entry{IdleLifetime: 30 * day, GrantLifetime: 365 * day}
	for _, c := range []struct {
		d           Description
		idle, grant time.Duration
	}{
		{Description{}, 30 * day, 365 * day},
		{Description{IdleLifetime: "7d"}, 7 * day, 365 * day},
		{Description{IdleLifetime: "none"}, 0, 365 * day},
		{Description{GrantLifetime: "none", IdleLifetime: "90m"}, 90 * time.Minute, 0},
	} {
		got := c.d.Over(e, false, func(key, text string) { t.Errorf("%s %s", key, text) })
		assert.Equal(t, []time.Duration{c.idle, c.grant}, []time.Duration{got.IdleLifetime, got.GrantLifetime}, c.d)
	}
	var wrong []string
	Description{DefaultLifetime: "none", GraceWindow: "none"}.Over(e, false, func(key, _ string) { wrong = append(wrong, key) })
	assert.Equal(t, []string{"grace_window", "default_lifetime"}, wrong, "only clocks of a grant can be turned off")
}
