package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestProblems shows each message. A case changes one line of a good file, adds lines
// at its end (to its one app, unless they begin at the margin), or sets variables.
func TestProblems(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, large := filepath.Join(dir, "empty"), filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(empty, []byte("\r\n"), 0o600))
	open := filepath.Join(dir, "open")
	require.NoError(t, os.WriteFile(open, []byte(planted), 0o600))
	require.NoError(t, os.Chmod(open, 0o644))
	require.NoError(t, os.WriteFile(large, make([]byte, maxSecret+1), 0o600))
	const secretLine = "    client_secret_env: CRM_SECRET\n"
	for _, tc := range []struct {
		name     string
		old, new string
		add      string
		env      []string
		want     []string
	}{
		{name: "unknown key", add: "task_queu: x", want: []string{`p.yaml:8: unknown key "task_queu"; did you mean task_queue?`}},
		{name: "unknown key like none", add: "favourite_colour: x", want: []string{`p.yaml:8: unknown key "favourite_colour"`}},
		{name: "unknown key of an app", add: "    client_secret: " + planted, want: []string{`p.yaml:8: unknown key "client_secret"`}},
		{name: "unknown key of an app, near one", add: "    scope: [a]", want: []string{`p.yaml:8: unknown key "scope"; did you mean scopes?`}},
		{name: "unknown key of the timing", add: "timing:\n  http_timeot: 1s", want: []string{`p.yaml:9: unknown key "http_timeot"; did you mean http_timeout?`}},
		{name: "a secret as a key", add: planted + ": x", want: []string{`p.yaml:8: unknown key (not shown)`}},
		{name: "key given twice", add: "keys: other", want: []string{`p.yaml:8: this key is given already at line 2`}},
		{name: "a list for a value", old: "client_id: id", new: "client_id: [id]", want: []string{"p.yaml:6: this key does not take a list"}},
		{name: "keys for a value", old: "keys: keys", new: "keys: {a: b}", want: []string{"p.yaml:2: this key does not take keys of its own"}},
		{name: "a value for a list", add: "    scopes: a b", want: []string{"p.yaml:8: this key does not take such a value"}},
		{name: "not YAML", add: "\t- x", want: []string{"p.yaml:7: not readable as YAML: found a tab character that violates indentation"}},
		{name: "not YAML, in words that hold a value", add: "a: *" + planted, want: []string{"p.yaml: not readable as YAML"}},
		{name: "two documents", add: "---\na: b", want: []string{"p.yaml: holds more than one YAML document; only one is read"}},

		{name: "no database", old: "database_url: sqlite:p.db", new: "# none", want: []string{"p.yaml: database_url (or PERENNIAL_DATABASE_URL) is needed: postgres://... or sqlite:PATH"}},
		{name: "another database", old: "sqlite:p.db", new: "mysql://u:" + planted + "@h/d", want: []string{"p.yaml:1: database_url must be postgres://... or sqlite:PATH"}},
		{name: "sqlite of no path", old: "sqlite:p.db", new: `"sqlite:"`, want: []string{"p.yaml:1: database_url must be postgres://... or sqlite:PATH"}},
		{name: "no keys", old: "keys: keys", new: `keys: ""`, want: []string{"p.yaml:2: keys (or PERENNIAL_KEYS) is needed: the directory of the keysets; `perennial keys new` makes them"}},
		{name: "log level", add: "log_level: loud", want: []string{"p.yaml:8: log_level must be debug, info, warn or error"}},
		{name: "log format", add: "log_format: xml", want: []string{"p.yaml:8: log_format must be json or text"}},
		{name: "listen without port", add: "listen: localhost", want: []string{"p.yaml:8: listen must be HOST:PORT, for example 127.0.0.1:8081"}},
		{name: "listen past the last port", add: "listen: :65536", want: []string{"p.yaml:8: listen must be HOST:PORT, for example 127.0.0.1:8081"}},
		{name: "a server without port", add: "server:\n  listen: x", want: []string{"p.yaml:9: server: listen must be HOST:PORT, for example 127.0.0.1:8080"}},
		{name: "a server without port, by a variable", env: []string{"PERENNIAL_SERVER_HEALTH=x"}, want: []string{"p.yaml: the environment variable PERENNIAL_SERVER_HEALTH must be HOST:PORT, for example 127.0.0.1:8082"}},
		{name: "a certificate without its key", add: "server:\n  tls_cert: c", want: []string{"p.yaml:8: server: tls_cert and tls_key are the paths of a certificate and its key; give both, or neither"}},
		{name: "a server that takes nothing", add: "server:\n  requests_per_second: 0\n  burst: -1", want: []string{
			"p.yaml:9: server: requests_per_second must be above 0; leave it out for the default, 2000", "p.yaml:10: server: burst must be above 0; leave it out for the default, two seconds' requests"}},
		{name: "timing, a bad duration", add: "timing:\n  save_timeout: 15", want: []string{`p.yaml:9: timing: save_timeout must be a duration above zero, for example "30s", "30m" or "2400h"`}},
		{name: "timing, a broken chain", add: "timing:\n  start_to_close: 90s", want: []string{
			"p.yaml:8: timing: attempt_deadline (1m30s) must be above start_to_close (1m30s)", "p.yaml:8: timing: worker_stop (1m25s) must be above start_to_close (1m30s)"}},

		{name: "an app of no name", old: "- name: crm", new: "- title: Crm", want: []string{"p.yaml:4: apps: number 1: name is needed"}},
		{name: "an app twice", add: "  - {name: crm, provider: hubspot, client_id: i, client_secret_env: CRM_SECRET}", want: []string{"p.yaml:8: apps: number 2 has the name of number 1"}},
		{name: "no client id", old: "    client_id: id", new: "#", want: []string{"p.yaml:4: apps: crm: client_id is needed"}},
		{name: "no provider", old: "    provider: hubspot", new: "#", want: []string{"p.yaml:4: apps: crm: provider is needed"}},
		{name: "unknown provider", old: "hubspot", new: "hubspt", want: []string{`p.yaml:5: apps: crm: provider "hubspt" is not in the catalogue (` + strings.Join(provider.Names(), ", ") + `); did you mean hubspot?`}},
		{name: "buffer", add: "    buffer: big", want: []string{"p.yaml:8: apps: crm: buffer must be queue, realtime, share, or a duration from 10s to 1h"}},
		{name: "a buffer shorter than a request", add: "    buffer: 9s", want: []string{"p.yaml:8: apps: crm: buffer must be queue, realtime, share, or a duration from 10s to 1h"}},
		{name: "a buffer of hours", add: "    buffer: 61m", want: []string{"p.yaml:8: apps: crm: buffer must be queue, realtime, share, or a duration from 10s to 1h"}},
		{name: "auth style", add: "    auth_style: auto", want: []string{"p.yaml:8: apps: crm: auth_style must be one of header, params, none, private_key_jwt, client_secret_jwt, tls_client_auth"}},
		{name: "replay class", add: "    replay_class: " + planted, want: []string{"p.yaml:8: apps: crm: replay_class must be one of reusable, grace, single_use, reuse_revokes, unknown"}},
		{name: "grace without window", add: "    replay_class: grace", want: []string{"p.yaml:4: apps: crm: provider hubspot: replay_class grace needs a grace_window"}},
		{name: "generic without token_url", old: "hubspot", new: "generic", add: "    auth_style: header", want: []string{"p.yaml:4: apps: crm: provider generic: token_url is needed"}},
		{name: "keycloak without token_url", old: "hubspot", new: "keycloak", want: []string{"p.yaml:4: apps: crm: provider keycloak: token_url is needed"}},
		{name: "generic without auth_style", old: "hubspot", new: "generic", add: "    token_url: https://h/t", want: []string{
			"p.yaml:4: apps: crm: provider generic: auth_style must be one of header, params, none, private_key_jwt, client_secret_jwt, tls_client_auth: probing for it would show a refresh token twice"}},
		{name: "durations", add: "    grace_window: 0s\n    default_lifetime: 1 hour\n    idle_lifetime: -1h\n    grant_lifetime: 1.5d", want: []string{
			`p.yaml:8: apps: crm: grace_window must be a duration above zero, for example "30s", "30m" or "90d"`,
			`p.yaml:9: apps: crm: default_lifetime must be a duration above zero, for example "30s", "30m" or "90d"`,
			`p.yaml:10: apps: crm: idle_lifetime must be a duration above zero, for example "30s", "30m" or "90d", or none`,
			`p.yaml:11: apps: crm: grant_lifetime must be a duration above zero, for example "30s", "30m" or "90d", or none`}},
		{name: "a member that is ours", add: "    refresh_params: {refresh_token: " + planted + ", scope: a}\n    auth_params:\n      Client_ID: x", want: []string{
			"p.yaml:8: apps: crm: refresh_params.refresh_token is set by Perennial itself: leave it out", "p.yaml:10: apps: crm: auth_params.Client_ID is set by Perennial itself: leave it out"}},
		{name: "a key of a provider", add: "    tokens_undr: data", want: []string{`p.yaml:8: unknown key "tokens_undr"; did you mean tokens_under?`}},
		{name: "spellings", add: "    spellings:\n      - {http_status: 403, outcome: revoked}\n      - {code: invalid_grant, outcome: revokd}\n      - {cod: x, outcome: revoked}\n      - {code: \"AADSTS40001\", outcome: revoked}", want: []string{
			"p.yaml:9: apps: crm: spellings.0 needs a code or contains: a status alone says nothing about the token",
			"p.yaml:10: apps: crm: spellings.1.outcome must be one of revoked, misconfigured, rate_limited, too_early, busy, unavailable, unknown, rejected; did you mean revoked?",
			`p.yaml:11: unknown key "cod"; did you mean code?`, "p.yaml:11: apps: crm: spellings.2 needs a code or contains: a status alone says nothing about the token",
			"p.yaml:12: apps: crm: spellings.3.code can never match: a code is a number, or has letters, spaces and _ - . only, and at most 48 of them; use contains"}},
		{name: "hosts", add: "    token_url: https://{host}/t\n    hosts: [.com, .co.uk, https://h, acme.example]", want: []string{
			"p.yaml:9: apps: crm: hosts.0 is open to everybody: name a domain of the provider", "p.yaml:9: apps: crm: hosts.1 is open to everybody: name a domain of the provider",
			"p.yaml:9: apps: crm: hosts.2 must be a host's name in lower case, without a scheme, a port and a path"}},
		{name: "http to another machine", add: "    token_url: http://example.com/t", want: []string{"p.yaml:8: apps: crm: token_url must begin with https:// (http:// only on this machine)"}},
		{name: "http to a name that begins like this machine", add: "    token_url: http://localhost.example.com/t", want: []string{"p.yaml:8: apps: crm: token_url must begin with https:// (http:// only on this machine)"}},
		{name: "URLs", add: "    auth_url: /a\n    introspect_url: https://u:" + planted + "@h/i\n    revoke_url: https://h/r#f", want: []string{
			"p.yaml:8: apps: crm: auth_url is not a whole URL", "p.yaml:9: apps: crm: introspect_url must not hold credentials or a fragment",
			"p.yaml:10: apps: crm: revoke_url must not hold credentials or a fragment"}},

		{name: "no secret", old: secretLine, want: []string{"p.yaml:4: apps: crm: client_secret_env or client_secret_file is needed"}},
		{name: "no secret in the list", old: "CRM_SECRET", new: "[]", want: []string{"p.yaml:7: apps: crm: name at least one secret"}},
		{name: "both kinds of secret", add: "    client_secret_file: " + large[:1] + "dev/null", want: []string{"p.yaml:8: apps: crm: client_secret_file and client_secret_env are both given: keep one",
			"p.yaml:8: apps: crm: client_secret_file names something that is not a file"}},
		{name: "secret not set", old: "CRM_SECRET", new: "GONE_SECRET", want: []string{"p.yaml:7: apps: crm: client_secret_env names the variable GONE_SECRET, which is not set"}},
		{name: "second secret not set", old: "CRM_SECRET", new: "\n      - CRM_SECRET\n      - GONE_SECRET", want: []string{"p.yaml:9: apps: crm: client_secret_env names the variable GONE_SECRET, which is not set"}},
		{name: "secret empty", old: "CRM_SECRET", new: "EMPTY_SECRET", env: []string{"EMPTY_SECRET= "}, want: []string{"p.yaml:7: apps: crm: client_secret_env names the variable EMPTY_SECRET, which is empty"}},
		{name: "the secret itself", old: "CRM_SECRET", new: planted, want: []string{"p.yaml:7: apps: crm: client_secret_env must name an environment variable; the secret itself does not belong in the file"}},
		{name: "the secret itself, of letters", old: "CRM_SECRET", new: strings.ReplaceAll(planted, "-", ""), want: []string{"p.yaml:7: apps: crm: client_secret_env names a variable that is not set"}},
		{name: "secret file missing", old: "env: CRM_SECRET", new: "file: " + planted, want: []string{"p.yaml:7: apps: crm: client_secret_file names a file that cannot be read: no such file or directory"}},
		{name: "secret file empty", old: "env: CRM_SECRET", new: "file: " + empty, want: []string{"p.yaml:7: apps: crm: client_secret_file is empty"}},
		{name: "secret file too large", old: "env: CRM_SECRET", new: "file: " + large, want: []string{"p.yaml:7: apps: crm: client_secret_file names a file that is too large for a secret"}},
		{name: "secret file that others can read", old: "env: CRM_SECRET", new: "file: " + open, want: []string{"p.yaml:7: apps: crm: client_secret_file names a file that other users can read, write or replace: run `chmod 600` on it, and `chmod go-w` on the folders above it; in Kubernetes give the volume of the secret defaultMode 0440"}},
		{name: "a key without a key", add: "    auth_style: private_key_jwt", want: []string{"p.yaml:4: apps: crm: client_key_env or client_key_file is needed", "p.yaml:7: apps: crm: client_secret_env is not used with this auth_style: it takes client_key_env or client_key_file"}},
		{name: "a key that is none", old: secretLine, new: "    client_key_env: CRM_SECRET\n", add: "    auth_style: private_key_jwt", want: []string{"p.yaml:7: apps: crm: client_key_env has no private key: give one in PEM (PKCS #8, PKCS #1 or SEC 1), or as a JSON Web Key (RFC 7517)"}},
		{name: "a certificate that is none", old: secretLine, new: "    client_key_file: " + open + "x\n", add: "    auth_style: tls_client_auth", want: []string{"p.yaml:7: apps: crm: client_key_file names a file that cannot be read: no such file or directory"}},
		{name: "a secret for a public client", add: "    auth_style: none", want: []string{"p.yaml:7: apps: crm: client_secret_env is not used with this auth_style: a public client has no secret; leave it out"}},
		{name: "a key where a secret is needed", old: secretLine, new: "    client_key_env: CRM_SECRET\n", want: []string{"p.yaml:4: apps: crm: client_secret_env or client_secret_file is needed", "p.yaml:7: apps: crm: client_key_env is not used with this auth_style: it takes client_secret_env or client_secret_file"}},
		{name: "a secret too short to sign", add: "    auth_style: client_secret_jwt", want: []string{"p.yaml:7: apps: crm: client_secret_env has fewer bytes than its algorithm needs: 32 for HS256, 48 for HS384, 64 for HS512 (RFC 7518 section 3.2)"}},
		{name: "an algorithm", add: "    assertion: {algorithm: none, audience: x}", want: []string{"p.yaml:8: apps: crm: assertion.algorithm must be one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, HS256, HS384, HS512"}},

		{name: "secret file a directory", old: "env: CRM_SECRET", new: "file: " + dir, want: []string{"p.yaml:7: apps: crm: client_secret_file names something that is not a file"}},

		{name: "unknown variable", env: []string{"PERENNIAL_LISTN=:1"}, want: []string{"p.yaml: the environment variable PERENNIAL_LISTN is not one that is read: unset it or correct its name; did you mean PERENNIAL_LISTEN?"}},
		{name: "variables of the wrong value", env: []string{"PERENNIAL_LOG_LEVEL=loud", "PERENNIAL_ALLOW_PLAINTEXT_KEYS=yes"}, want: []string{
			"p.yaml: the environment variable PERENNIAL_ALLOW_PLAINTEXT_KEYS must be true or false",
			"p.yaml: the environment variable PERENNIAL_LOG_LEVEL must be debug, info, warn or error"}},
		{name: "a variable of an app whose provider is unknown is still known", old: "hubspot", new: "zzz", env: []string{"PERENNIAL_CRM_SECRET=x"},
			add: "  - {name: b, provider: zzz, client_id: i, client_secret_env: PERENNIAL_CRM_SECRET}", want: []string{
				`p.yaml:5: apps: crm: provider "zzz" is not in the catalogue (` + strings.Join(provider.Names(), ", ") + `)`,
				`p.yaml:8: apps: b: provider "zzz" is not in the catalogue (` + strings.Join(provider.Names(), ", ") + `)`}},
		{name: "everything at once, by line", old: "keys: keys", new: `keys: ""`, add: "    buffer: big\nlog_level: loud\nlisten: x\nkey: y", want: []string{
			"p.yaml:2: keys (or PERENNIAL_KEYS) is needed: the directory of the keysets; `perennial keys new` makes them",
			"p.yaml:8: apps: crm: buffer must be queue, realtime, share, or a duration from 10s to 1h", "p.yaml:9: log_level must be debug, info, warn or error",
			"p.yaml:10: listen must be HOST:PORT, for example 127.0.0.1:8081", `p.yaml:11: unknown key "key"; did you mean keys?`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			file := good
			if tc.old != "" {
				require.Contains(t, file, tc.old)
				file = strings.Replace(file, tc.old, tc.new, 1)
			}
			_, err := parse("p.yaml", []byte(file+tc.add+"\n"), append(tc.env, goodEnv...))
			require.Error(t, err)
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
			assert.Equal(t, strings.Join(tc.want, "\n"), err.Error())
			require.NotContains(t, err.Error(), planted)
			joined, ok := err.(interface{ Unwrap() []error })
			require.True(t, ok)
			require.Len(t, joined.Unwrap(), len(tc.want))
		})
	}
}

// FuzzLoad loads any bytes twice: there is no panic, both results are the same, and
// none has a secret.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("perennial.example.yaml")
	require.NoError(f, err)
	for _, seed := range []string{good, string(example), planted, planted + ": " + planted, "apps: [" + planted + "]", "&" + planted + " a: *" + planted,
		"database_url: postgres://u:" + planted + "@h/d", "apps:\n- client_secret_file: " + planted + "\n  replay_class: " + planted,
		strings.ReplaceAll(good, "hubspot", planted), "timing: {http_timeout: " + planted + "}", "a: &a [*a]", "<<: 1", "? [a]\n: b", "!!binary x: y"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		env := append([]string{"PERENNIAL_LISTN=" + planted, "PERENNIAL_LOG_LEVEL=" + planted}, goodEnv...)
		_, err := parse("p.yaml", raw, env)
		require.Error(t, err, "the environment alone is wrong")
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
		require.NotContains(t, err.Error(), planted)
		_, again := parse("p.yaml", raw, env)
		require.EqualError(t, again, err.Error())
		if c, err := parse("p.yaml", raw, goodEnv); err == nil {
			for _, app := range c.Apps {
				require.NoError(t, app.Provider.Validate())
				require.Equal(t, app.Provider.Proof() == provider.ProofNone, len(app.ClientSecrets) == 0)
			}
		}
	})
}
