package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

const planted = "PLANTED-cs-9f3aB7"

const good = `database_url: sqlite:p.db
keys: keys
apps:
  - name: crm
    provider: hubspot
    client_id: id
    client_secret_env: CRM_SECRET
`

var goodEnv = []string{"CRM_SECRET=" + planted, "OTHER_SECRET=" + planted + "2", "PATH=/bin"}

func TestExampleLoads(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("perennial.example.yaml")
	require.NoError(t, err)
	secret := filepath.Join(t.TempDir(), "acme.secret")
	require.NoError(t, os.WriteFile(secret, []byte(planted+"\n"), 0o600))
	path := filepath.Join(t.TempDir(), "perennial.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(raw), "/etc/perennial/acme.secret", secret)), 0o600))

	c, err := LoadEnviron(path, []string{"HUBSPOT_CLIENT_SECRET=h", "QUICKBOOKS_CLIENT_SECRET_NEW=new", "QUICKBOOKS_CLIENT_SECRET=old"})
	require.NoError(t, err)
	require.Len(t, c.Apps, 3)
	require.Equal(t, c.Timing, c.Timing.WithDefaults())
	require.Equal(t, 2000.0, c.Server.Rate, "the defaults that api.Config documents")
	require.Equal(t, 4000, c.Server.Burst)
	require.Equal(t, provider.BufferQueue, c.Apps[0].Buffer)
	require.Equal(t, "https://api.hubapi.com/oauth/v3/token", c.Apps[0].Provider.TokenURL)
	require.Equal(t, "new", c.Apps[1].ClientSecrets[0].Reveal(), "in the order of the file")
	require.Equal(t, "old", c.Apps[1].ClientSecrets[1].Reveal())
	acme := c.Apps[2]
	require.Equal(t, planted, acme.ClientSecrets[0].Reveal(), "without the newline at the end")
	require.Equal(t, "Acme", acme.Provider.Title)
	require.Equal(t, oauth2.AuthStyleInHeader, acme.Provider.AuthStyle)
	require.Equal(t, time.Hour, acme.Provider.DefaultLifetime)
	require.NotContains(t, fmt.Sprintf("%+v %#v", c, c), planted)
}

func TestDatabasePool(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte("database_pool: {max_open: 40, idle_time: 5m}\n"+good), goodEnv)
	require.NoError(t, err)
	require.Equal(t, db.Pool{MaxOpen: 40, IdleTime: 5 * time.Minute}, c.DatabasePool)
	c, err = parse("p.yaml", []byte(good), goodEnv)
	require.NoError(t, err)
	require.Zero(t, c.DatabasePool, "the store's defaults")
	for setting, want := range map[string]string{
		"{max_open: 1}":       "database_pool: max_open must be at least 2; leave it out for the default, 5 connections",
		"{max_open: 0}":       "database_pool: max_open must be at least 2; leave it out for the default, 5 connections",
		"{idle_time: 0s}":     `database_pool: idle_time must be a duration above zero, for example "30s", "30m" or "2400h"`,
		"{idle_time: sweden}": `database_pool: idle_time must be a duration above zero, for example "30s", "30m" or "2400h"`,
	} {
		_, err = parse("p.yaml", []byte("database_pool: "+setting+"\n"+good), goodEnv)
		require.EqualError(t, err, "p.yaml:1: "+want, setting)
	}
}

func TestWorkerCache(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte("worker: {cache: 40}\n"+good), goodEnv)
	require.NoError(t, err)
	require.Equal(t, Worker{Cache: 40}, c.Worker)
	c, err = parse("p.yaml", []byte(good), goodEnv)
	require.NoError(t, err)
	require.Zero(t, c.Worker.Cache, "the SDK's default")
	pooled := good + "    pace: pooled\n"
	c, err = parse("p.yaml", []byte(pooled), goodEnv)
	require.NoError(t, err)
	require.Equal(t, 500, c.Worker.Cache, "their workflows wake once a day")
	c, err = parse("p.yaml", []byte("worker: {cache: 40}\n"+pooled), goodEnv)
	require.NoError(t, err)
	require.Equal(t, 40, c.Worker.Cache)
	c, err = parse("p.yaml", []byte(pooled+"  - {name: books, provider: quickbooks, client_id: id, client_secret_env: OTHER_SECRET}\n"), goodEnv)
	require.NoError(t, err)
	require.Zero(t, c.Worker.Cache, "one app's wake for each refresh")
	_, err = parse("p.yaml", []byte("worker: {cache: 0}\n"+good), goodEnv)
	require.EqualError(t, err, "p.yaml:1: worker: cache must be above 0; leave it out for the default, 10000 workflows")
}

func TestNotify(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte(good), goodEnv)
	require.NoError(t, err)
	require.False(t, c.Notify.AllowPrivate)
	c, err = parse("p.yaml", []byte("notify: {allow_private: true}\n"+good), goodEnv)
	require.NoError(t, err)
	require.True(t, c.Notify.AllowPrivate)
	_, err = parse("p.yaml", []byte("notify: {allow_privat: true}\n"+good), goodEnv)
	require.ErrorContains(t, err, "allow_private")
}

func TestConnect(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte(good), goodEnv)
	require.NoError(t, err)
	require.Zero(t, c.Connect, "no links are made")
	c, err = parse("p.yaml", []byte(`connect: {base_url: "https://c.example/", return_urls: [https://app.example/settings, "http://localhost:3000/"], reconnect_url: "https://app.example/{tenant_id}?c={connection_id}", product: P, help_url: "https://h.example/?a=b", lifetime: 1h, bound_only: true}
`+good), goodEnv)
	require.NoError(t, err)
	require.Equal(t, Connect{BaseURL: "https://c.example", ReturnURLs: []string{"https://app.example/settings", "http://localhost:3000/"}, Product: "P",
		ReconnectURL: "https://app.example/{tenant_id}?c={connection_id}", HelpURL: "https://h.example/?a=b", Lifetime: time.Hour, BoundOnly: true}, c.Connect)
	_, err = parse("p.yaml", []byte(`connect:
  base_url: http://c.example
  return_urls:
    - https://app.example/?x=1
    - /settings
  help_url: javascript:alert(1)
  lifetime: 25h
  reconnect_url: http://app.example/{connection_id}
`+good), goodEnv)
	require.EqualError(t, err, "p.yaml:2: connect: base_url must begin with https:// (http:// only on this machine)\n"+
		"p.yaml:4: connect: return_urls must not hold a query\n"+
		"p.yaml:5: connect: return_urls is not a whole URL\n"+
		"p.yaml:6: connect: help_url is not a whole URL\n"+
		"p.yaml:7: connect: lifetime must be from 1m to 24h\n"+
		"p.yaml:8: connect: reconnect_url must begin with https:// (http:// only on this machine)")
}

// TestConnectVariables: a process with settings in its environment needs no file for
// its links.
func TestConnectVariables(t *testing.T) {
	t.Parallel()
	file := "connect: {base_url: \"https://file.example\", return_urls: [https://file.example/], product: File, bound_only: true}\n" + good
	c, err := parse("p.yaml", []byte(file), append([]string{"PERENNIAL_CONNECT_BASE_URL=https://c.example/",
		"PERENNIAL_CONNECT_RETURN_URLS=https://app.example/settings, http://localhost:3000", "PERENNIAL_CONNECT_RECONNECT_URL=https://app.example/{connection_id}",
		"PERENNIAL_CONNECT_HELP_URL=https://h.example", "PERENNIAL_CONNECT_LIFETIME=1h", "PERENNIAL_CONNECT_PRODUCT=", "PERENNIAL_CONNECT_BOUND_ONLY=false"}, goodEnv...))
	require.NoError(t, err)
	require.Equal(t, Connect{BaseURL: "https://c.example", ReturnURLs: []string{"https://app.example/settings", "http://localhost:3000"}, Product: "File",
		ReconnectURL: "https://app.example/{connection_id}", HelpURL: "https://h.example", Lifetime: time.Hour}, c.Connect)
	_, err = parse("p.yaml", []byte(file), append([]string{"PERENNIAL_CONNECT_BASE_URL=c.example", "PERENNIAL_CONNECT_RETURN_URLS=https://app.example,",
		"PERENNIAL_CONNECT_RECONNECT_URL=https://{app}.example", "PERENNIAL_CONNECT_HELP_URL=x", "PERENNIAL_CONNECT_LIFETIME=1s"}, goodEnv...))
	require.EqualError(t, err, "p.yaml: the environment variable PERENNIAL_CONNECT_RETURN_URLS is not a whole URL\n"+
		"p.yaml: the environment variable PERENNIAL_CONNECT_BASE_URL is not a whole URL\n"+
		"p.yaml: the environment variable PERENNIAL_CONNECT_RECONNECT_URL must name its host: placeholders stand after it\n"+
		"p.yaml: the environment variable PERENNIAL_CONNECT_HELP_URL is not a whole URL\n"+
		"p.yaml: the environment variable PERENNIAL_CONNECT_LIFETIME must be from 1m to 24h")
	_, err = parse("p.yaml", []byte(good), append([]string{"PERENNIAL_CONNECT_BOUND_ONLY=yes"}, goodEnv...))
	require.ErrorContains(t, err, "the environment variable PERENNIAL_CONNECT_BOUND_ONLY must be true or false")
	_, err = parse("p.yaml", []byte(good), append([]string{"PERENNIAL_CONNECT_LIFETIME=soon"}, goodEnv...))
	require.ErrorContains(t, err, "the environment variable PERENNIAL_CONNECT_LIFETIME must be a duration above zero")
}

func TestLinks(t *testing.T) {
	t.Parallel()
	con := perennial.Connection{ID: "con_1", TenantID: "a/b&c=d e?#%", App: "crm"}
	for template, want := range map[string]string{
		"":                                      "",
		"https://app.example/":                  "https://app.example/",
		"https://app.example?c={connection_id}": "https://app.example?c=con_1",
		"https://app.example/{tenant_id}/{app}?id={connection_id}&t={tenant_id}": "https://app.example/a%2Fb%26c%3Dd%20e%3F%23%25/crm?id=con_1&t=a%2Fb%26c%3Dd%20e%3F%23%25",
	} {
		reconnect, help := Connect{ReconnectURL: template, HelpURL: "https://h.example"}.Links(con)
		require.Equal(t, want, reconnect)
		require.Equal(t, "https://h.example", help)
		if template != "" {
			require.Empty(t, badReconnectURL(template), template)
		}
	}
	for template, want := range map[string]string{
		"https://app.example/{connection}":   "takes the placeholders",
		"https://app.example/{connection_id": "takes the placeholders",
		"https://{tenant_id}.example/":       "must name its host",
		"app.example/{connection_id}":        "not a whole URL",
		"javascript:{connection_id}":         "not a whole URL",
	} {
		require.Contains(t, badReconnectURL(template), want, template)
	}
}

func TestAccount(t *testing.T) {
	t.Parallel()
	_, err := parse("p.yaml", []byte(good+"    account: {from: "+planted+", url: \"ftp://x\"}\n"), goodEnv)
	require.ErrorContains(t, err, "apps: crm: account.from must be one of callback, reply, id_token, introspection, url, host")
	require.ErrorContains(t, err, "apps: crm: account.url must begin with https://")
	require.NotContains(t, err.Error(), planted)
	_, err = parse("p.yaml", []byte(good+"    account: {from: reply}\n"), goodEnv)
	require.ErrorContains(t, err, "account needs the name")
	_, err = parse("p.yaml", []byte(good+"    account: {from: reply, nam: x}\n"), goodEnv)
	require.ErrorContains(t, err, "did you mean name?")
	_, err = parse("p.yaml", []byte(good+"    issuer_sent: true\n"), goodEnv)
	require.ErrorContains(t, err, "issuer_sent needs an issuer")
}

func TestEveryKeyOfAnApp(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte(good+`  - name: full
    provider: generic
    title: Full
    client_id: 0123
    client_secret_env: [CRM_SECRET, OTHER_SECRET]
    scopes: [a, b]
    buffer: share
    replay_class: grace
    grace_window: 30m
    auth_url: https://full.example/a
    token_url: http://127.0.0.1:9/t
    introspect_url: http://[::1]/i
    revoke_url: http://localhost/r
    auth_style: params
    default_lifetime: 1h
    idle_lifetime: 2400h
    grant_lifetime: 43800h
    metadata_fields: [realm]
    auth_params: {prompt: consent}
    issuer: https://full.example
    issuer_sent: true
    account: {from: callback, name: realm, url: "https://full.example/{account}"}
    rate_limit_scope: host
    hosts: [.full.example]
    notes: Sources.
    secret_as_user: false
    json_body: true
    refresh_params: {scope: a}
    replay_source: measured
    refresh_kills_access_token: true
    checks_client_first: true
    scope_separator: ","
    scopes_unnamed: [openid]
    tokens_under: data
    account_field: realm id
    request_id_header: X-Id
    spellings: [{http_status: 400, code: invalid_request, contains: refresh_token, outcome: revoked}]
    rotation: sometimes
    rate_limit: 10 in 10 minutes
    revocation: the grant
    grants_per_user: 5
    api_hosts: [api.full.example]
    setup: {register: "https://full.example/apps", redirect_uris: https only, refresh_token: offline_access, sandbox: none}
    evidence: [{facts: [replay], by: measured, source: us, date: 2026-11}]
`), goodEnv)
	require.NoError(t, err)
	got, err := c.App("full")
	require.NoError(t, err)
	generic, ok := provider.Lookup("generic")
	require.True(t, ok)
	want := provider.App{Name: "full", ClientID: "0123", Scopes: []string{"a", "b"}, Buffer: provider.BufferShare, Cadence: perennial.CadenceAlways, Provider: generic,
		ClientSecrets: []perennial.Secret{perennial.NewSecret(planted), perennial.NewSecret(planted + "2")}}
	e := &want.Provider
	e.Title, e.AuthURL, e.TokenURL = "Full", "https://full.example/a", "http://127.0.0.1:9/t"
	e.IntrospectURL, e.RevokeURL, e.AuthStyle = "http://[::1]/i", "http://localhost/r", oauth2.AuthStyleInParams
	e.ReplayClass, e.ReplaySource, e.GraceWindow = perennial.ReplayGrace, "measured", 30*time.Minute
	e.DefaultLifetime, e.IdleLifetime, e.GrantLifetime = time.Hour, 2400*time.Hour, 43800*time.Hour
	e.MetadataFields = []string{"realm"}
	e.AuthParams, e.Issuer, e.IssuerSent = map[string]string{"prompt": "consent"}, "https://full.example", true
	e.Account = provider.AccountSource{From: provider.AccountFromCallback, Name: "realm", URL: "https://full.example/{account}"}
	e.RateLimitScope, e.HostSuffixes = provider.ScopeHost, []string{".full.example"}
	e.Notes, e.JSONBody, e.RefreshParams, e.RefreshKillsAccessToken, e.ChecksClientFirst = "Sources.", true, map[string]string{"scope": "a"}, true, true
	e.ScopeSeparator, e.ScopesUnnamed, e.TokensUnder, e.AccountField, e.RequestIDHeader = ",", []string{"openid"}, "data", "realm id", "X-Id"
	e.Spellings = []provider.Spelling{{HTTPStatus: 400, Code: "invalid_request", Contains: "refresh_token", Outcome: perennial.OutcomeRevoked}}
	e.Rotation, e.RateLimit, e.Revocation, e.GrantsPerUser = provider.RotationSometimes, "10 in 10 minutes", "the grant", 5
	e.APIHosts = []string{"api.full.example"}
	e.Setup = provider.Setup{Register: "https://full.example/apps", RedirectURIs: "https only", RefreshToken: "offline_access", Sandbox: "none"}
	e.Evidence = []provider.Evidence{{Facts: []string{"replay"}, By: "measured", Source: "us", Date: "2026-11"}}
	require.Equal(t, want, got)
}

// TestLaidOverAnEntry: an app's spellings come before the catalogue's, its maps are
// merged with the catalogue's, and replace puts both in their place. The catalogue stays
// as it is.
func TestLaidOverAnEntry(t *testing.T) {
	t.Parallel()
	const file = good + `  - name: zoho
    provider: zoho
    client_id: id
    client_secret_env: CRM_SECRET
    auth_params: {prompt: login, x: "1"}
    spellings: [{code: invalid_code, contains: too soon, outcome: rate_limited}]
`
	own := provider.Spelling{Code: "invalid_code", Contains: "too soon", Outcome: perennial.OutcomeRateLimited}
	zoho, _ := provider.Lookup("zoho")
	c, err := parse("p.yaml", []byte(file), goodEnv)
	require.NoError(t, err)
	got := c.Apps[1].Provider
	require.Equal(t, map[string]string{"access_type": "offline", "prompt": "login", "x": "1"}, got.AuthParams)
	require.Equal(t, append([]provider.Spelling{own}, zoho.Spellings...), got.Spellings)
	require.Equal(t, zoho.Evidence, got.Evidence)

	c, err = parse("p.yaml", []byte(file+"    replace: true\n"), goodEnv)
	require.NoError(t, err)
	got = c.Apps[1].Provider
	require.Equal(t, map[string]string{"prompt": "login", "x": "1"}, got.AuthParams)
	require.Equal(t, []provider.Spelling{own}, got.Spellings)
	require.Equal(t, zoho.HostSuffixes, got.HostSuffixes, "what the app does not name")

	after, _ := provider.Lookup("zoho")
	require.Equal(t, zoho, after)
}

// TestDescriptionFile: an app's provider may be a file of its own, beside the
// configuration; the app's keys are laid over it. The provider has the file's name.
func TestDescriptionFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	const acme = "title: Acme\ntoken_url: https://acme.example/t\nauth_style: header\nreplay_class: single_use\nreplay_source: its manual\nspellings: [{code: dead, outcome: revoked}]\n"
	write("acme.yaml", acme)
	write("zoho.yaml", acme)
	write("bad.yaml", acme+"tokens_undr: data\nidle_lifetime: "+planted+"\n")
	write("Bad Name.yaml", acme)
	load := func(line string) (*Config, error) {
		return parse(filepath.Join(dir, "p.yaml"), []byte(strings.Replace(good, "    provider: hubspot\n", "    "+line+"\n", 1)), goodEnv)
	}
	c, err := load("description: acme.yaml\n    spellings: [{code: busy, outcome: rate_limited}]")
	require.NoError(t, err)
	e := c.Apps[0].Provider
	require.Equal(t, []any{"acme", "Acme", perennial.ReplaySingleUse}, []any{e.Name, e.Title, e.ReplayClass})
	require.Len(t, e.Spellings, 2)
	require.Equal(t, "busy", e.Spellings[0].Code)

	const at = "/p.yaml:5: apps: crm: description "
	for line, want := range map[string]string{
		"description: acme.yaml\n    provider: zoho": "and provider are both given: keep one",
		"description: " + planted:                    "names a file that cannot be read: no such file or directory",
		"description: .":                             "names a file that cannot be read: it is not a file",
		"description: zoho.yaml":                     "has the name of a provider of the catalogue: name the file otherwise, or lay its keys over provider: zoho",
		"description: Bad Name.yaml":                 "the file's name is the provider's: letters a to z, digits, - and _, at most 41, with a letter first",
		"description: bad.yaml": dir + `/bad.yaml:7: unknown key "tokens_undr"; did you mean tokens_under?` + "\n" + dir + at +
			dir + `/bad.yaml:8: idle_lifetime must be a duration above zero, for example "30s", "30m" or "90d", or none`,
	} {
		_, err := load(line)
		require.EqualError(t, err, dir+at+want, line)
		require.NotContains(t, err.Error(), planted)
	}
}

// TestClocksOfAnApp: what an app's owner has set at the provider, the app says too.
func TestClocksOfAnApp(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	app := strings.Replace(good, "provider: hubspot", "provider: salesforce", 1)
	for more, want := range map[string][2]time.Duration{ // idle, hard
		"": {30 * day, 0},
		"idle_lifetime: 7d\n    grant_lifetime: 180d": {7 * day, 180 * day},
		"idle_lifetime: none":                         {0, 0},
	} {
		c, err := parse("p.yaml", []byte(app+"    "+more+"\n"), goodEnv)
		require.NoError(t, err)
		require.Equal(t, want, [2]time.Duration{c.Apps[0].Provider.IdleLifetime, c.Apps[0].Provider.GrantLifetime}, more)
	}
}

// TestAnotherTokenEndpoint: if the configuration replaces the catalogue's token
// endpoint, the tokens go to none of the catalogue's other endpoints unless the
// configuration names them.
func TestAnotherTokenEndpoint(t *testing.T) {
	t.Parallel()
	for more, want := range map[string][2]string{ // introspection, revocation
		"": {"https://api.hubapi.com/oauth/v3/token/introspect", "https://api.hubapi.com/oauth/v3/token/revoke"},
		"token_url: https://API.hubapi.com/oauth/v1/token":                               {"https://api.hubapi.com/oauth/v3/token/introspect", "https://api.hubapi.com/oauth/v3/token/revoke"},
		"token_url: http://127.0.0.1:9/token":                                            {},
		"token_url: https://api.hubapi.com:444/token":                                    {},
		"token_url: https://evil.example/token":                                          {},
		"token_url: http://127.0.0.1:9/token\n    revoke_url: http://127.0.0.1:9/revoke": {"", "http://127.0.0.1:9/revoke"},
	} {
		c, err := parse("p.yaml", []byte(good+"    "+more+"\n"), goodEnv)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{c.Apps[0].Provider.IntrospectURL, c.Apps[0].Provider.RevokeURL}, more)
	}
}

// TestAnotherRefreshEndpoint: neither do refreshes.
func TestAnotherRefreshEndpoint(t *testing.T) {
	t.Parallel()
	app := strings.Replace(good, "provider: hubspot", "provider: figma", 1)
	require.NotEqual(t, good, app)
	for more, want := range map[string]string{
		"":                                    "https://api.figma.com/v1/oauth/refresh",
		"token_url: http://127.0.0.1:9/token": "",
		"token_url: http://127.0.0.1:9/token\n    refresh_url: http://127.0.0.1:9/r": "http://127.0.0.1:9/r",
	} {
		c, err := parse("p.yaml", []byte(app+"    "+more+"\n"), goodEnv)
		require.NoError(t, err)
		require.Equal(t, want, c.Apps[0].Provider.RefreshURL, more)
	}
}

func TestUnknownApp(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte(good), goodEnv)
	require.NoError(t, err)
	_, err = c.App("erp")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
	require.EqualError(t, err, `there is no app "erp" in the configuration; there are: crm`)
	_, err = (&Config{}).App("erp")
	require.ErrorContains(t, err, "there are: none")
}

func TestServer(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte("server: {listen: \":443\", health: \":81\", tls_cert: c, tls_key: k, requests_per_second: 50, burst: 5}\n"+good), goodEnv)
	require.NoError(t, err)
	require.Equal(t, Server{Listen: ":443", Health: ":81", TLSCert: "c", TLSKey: "k", Rate: 50, Burst: 5}, c.Server)
}

func TestSweep(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte("sweep: {every: 2m, grace: 40s, full_every: 20m, retention: 100h}\n"+good), goodEnv)
	require.NoError(t, err)
	require.Equal(t, Sweep{Every: 2 * time.Minute, Grace: 40 * time.Second, FullEvery: 20 * time.Minute, Retention: 100 * time.Hour}, c.Sweep)
}

func TestVariablesGoBeforeTheFile(t *testing.T) {
	t.Parallel()
	c, err := parse("p.yaml", []byte(good+"task_queue: file\nlog_level: warn\nallow_plaintext_keys: true\n"), append([]string{
		"PERENNIAL_DATABASE_URL=postgres://db/p", "PERENNIAL_KEYS=/k", "PERENNIAL_KMS_URI=hcvault://v/transit/keys/k",
		"PERENNIAL_ALLOW_PLAINTEXT_KEYS=false", "PERENNIAL_TASK_QUEUE=env", "PERENNIAL_LISTEN=:0", "PERENNIAL_SERVER_LISTEN=:1", "PERENNIAL_SERVER_HEALTH=:2", "PERENNIAL_LOG_FORMAT=text",
		"PERENNIAL_LOG_LEVEL=", "PERENNIAL_TEST_ANYTHING=1", "PERENNIAL_URL=https://perennial.example", "PERENNIAL_KEY=pk_1"}, goodEnv...))
	require.NoError(t, err)
	want := Config{DatabaseURL: "postgres://db/p", KeysDir: "/k", KMSURI: "hcvault://v/transit/keys/k", TaskQueue: "env",
		Listen: ":0", LogFormat: "text", LogLevel: "warn", Timing: c.Timing, Apps: c.Apps, Server: Server{Listen: ":1", Health: ":2"}}
	require.Equal(t, want, *c)

	c, err = parse("p.yaml", nil, []string{"PERENNIAL_DATABASE_URL=sqlite:x", "PERENNIAL_KEYS=k", "PERENNIAL_ALLOW_PLAINTEXT_KEYS=true"})
	require.NoError(t, err, "an empty file")
	want = Config{DatabaseURL: "sqlite:x", KeysDir: "k", AllowPlaintextKeys: true, TaskQueue: "perennial", Listen: "127.0.0.1:8081",
		LogFormat: "json", LogLevel: "info", Timing: c.Timing, Server: Server{Listen: "127.0.0.1:8080", Health: "127.0.0.1:8082"}}
	require.Equal(t, want, *c)
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := LoadEnviron(path, nil)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.EqualError(t, err, "there is no configuration at "+path+": copy config/perennial.example.yaml there, or name another file with --config")
	_, err = LoadEnviron(t.TempDir(), nil)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
}

// TestTimingCountsTheSecrets: the chain of the defaults holds for three secrets, 3 x 20
// s + 15 s < 80 s, and not for four.
func TestTimingCountsTheSecrets(t *testing.T) {
	t.Parallel()
	env := []string{"A_1=a", "A_2=b", "A_3=c", "A_4=d"}
	file := strings.Replace(good, "CRM_SECRET", "[A_1, A_2, A_3]", 1)
	_, err := parse("p.yaml", []byte(file), env)
	require.NoError(t, err)
	_, err = parse("p.yaml", []byte(strings.Replace(file, "A_3", "A_3, A_4", 1)), env)
	require.EqualError(t, err, "p.yaml: timing: start_to_close (1m20s) must be above http_timeout x client secrets + save_timeout (1m35s)")
}

// TestWithoutSecrets: a program that only reads loads without secrets. It learns what
// is wrong with an app's secrets when it needs them. All other errors are as always.
func TestWithoutSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "p.yaml")
	two := good + "  - {name: books, provider: quickbooks, client_id: id, client_secret_env: [NEW_SECRET, OLD_SECRET]}\n" +
		"  - {name: mail, provider: google, client_id: id, client_secret_file: " + dir + "/none}\n"
	require.NoError(t, os.WriteFile(path, []byte(two), 0o600))
	environ := []string{"CRM_SECRET=" + planted, "OLD_SECRET= "}
	_, err := LoadEnviron(path, environ)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	c, err := LoadWithoutSecrets(path, environ)
	require.NoError(t, err)
	require.Len(t, c.Apps, 3)
	require.NoError(t, c.NeedSecrets("crm"))
	require.NoError(t, c.NeedSecrets("gone"))
	require.Equal(t, planted, c.Apps[0].ClientSecrets[0].Reveal())
	require.EqualError(t, c.NeedSecrets("books"), path+":8: apps: books: client_secret_env names the variable NEW_SECRET, which is not set\n"+
		path+":8: apps: books: client_secret_env names the variable OLD_SECRET, which is empty")
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(c.NeedSecrets("books")))
	require.EqualError(t, c.NeedSecrets("mail"), path+":9: apps: mail: client_secret_file names a file that cannot be read: no such file or directory")

	for says, file := range map[string]string{
		"client_secret_env or client_secret_file is needed": strings.Replace(good, "    client_secret_env: CRM_SECRET\n", "", 1),
		"must name an environment variable":                 strings.Replace(good, "CRM_SECRET", planted, 1),
		"not in the catalogue":                              strings.Replace(good, "hubspot", "hubspt", 1),
	} {
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		_, err := LoadWithoutSecrets(path, nil)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), planted)
	}
}

// TestHealthAddresses: the addresses come from the file and the variables, whatever
// else is wrong.
func TestHealthAddresses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.yaml")
	for _, tc := range []struct {
		file           string
		env            []string
		worker, server string
	}{
		{"", nil, "127.0.0.1:8081", "127.0.0.1:8082"},
		{"listen: :1\nserver: {health: \":2\"}", nil, ":1", ":2"},
		{"listen: :1\nserver: {health: \":2\"}", []string{"PERENNIAL_LISTEN=h:3", "PERENNIAL_SERVER_HEALTH=h:4"}, "h:3", "h:4"},
		{"no_such_key: 1\nlisten: :1", []string{"PERENNIAL_NO_SUCH=1"}, ":1", "127.0.0.1:8082"},
	} {
		require.NoError(t, os.WriteFile(path, []byte(tc.file), 0o600))
		worker, server, err := HealthAddresses(path, tc.env)
		require.NoError(t, err)
		require.Equal(t, []string{tc.worker, tc.server}, []string{worker, server})
	}
	worker, server, err := HealthAddresses("", []string{"PERENNIAL_LISTEN=:9"})
	require.NoError(t, err)
	require.Equal(t, []string{":9", "127.0.0.1:8082"}, []string{worker, server})
	for says, file := range map[string]string{"listen must be": "listen: x", "server: health must be": "server: {health: x}", "not readable": "{"} {
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
		_, _, err := HealthAddresses(path, nil)
		require.ErrorContains(t, err, says)
	}
	_, _, err = HealthAddresses(path+"x", nil)
	require.ErrorContains(t, err, "there is no configuration")
}
