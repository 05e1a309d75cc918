package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/stretchr/testify/require"
)

// TestServersThatRunAnywhere: the entry says how such a server behaves, the app says where
// it is, and what its owner set otherwise.
func TestServersThatRunAnywhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dex", "hydra", "keycloak"} {
		path := filepath.Join(t.TempDir(), "perennial.yaml")
		require.NoError(t, os.WriteFile(path, []byte(`database_url: sqlite:p.db
keys: keys
apps:
  - name: sso
    provider: `+name+`
    client_id: id
    client_secret_env: SSO_SECRET
    auth_url: https://sso.example/auth
    token_url: https://sso.example/token
    revoke_url: https://sso.example/revoke
    replay_class: reusable
`), 0o600))
		c, err := config.LoadEnviron(path, []string{"SSO_SECRET=s"})
		require.NoError(t, err)
		app, err := c.App("sso")
		require.NoError(t, err)
		require.Equal(t, "https://sso.example/revoke", app.Provider.RevokeURL)
		require.Equal(t, perennial.ReplayReusable, app.Provider.ReplayClass)
		require.NotZero(t, app.Provider.DefaultLifetime)
	}
}

// TestReportedSettings: what users needed to configure for a provider that the
// catalogue does not have.
func TestReportedSettings(t *testing.T) {
	t.Parallel()
	const base = `database_url: sqlite:p.db
keys: keys
apps:
  - name: acme
    provider: generic
    client_id: id
    client_secret_env: ACME_SECRET
    auth_url: https://acme.example/authorize
    token_url: https://acme.example/token
    auth_style: params
`
	for _, line := range []string{
		"spellings: [{http_status: 400, code: invalid_request, contains: refresh_token, outcome: revoked}]",
		"refresh_params: {scope: api offline_access}",
		"tokens_under: data",
		"refresh_kills_access_token: true",
		"scope_separator: ','",
		"json_body: true",
		"api_spellings: [{http_status: 403, means: token}]",
		"default_lifetime: 1h",
		"auth_params: {access_type: offline}",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "perennial.yaml")
			require.NoError(t, os.WriteFile(path, []byte(base+"    "+line+"\n"), 0o600))
			_, err := config.LoadEnviron(path, []string{"ACME_SECRET=s"})
			require.NoError(t, err)
		})
	}
}
