package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func describing(t *testing.T, app string) (*config.Config, error) {
	path := filepath.Join(t.TempDir(), "perennial.yaml")
	require.NoError(t, os.WriteFile(path, []byte("database_url: sqlite:p.db\nkeys: keys\napps:\n  - {name: a, client_id: id, client_secret_env: A_SECRET, "+app+"}\n"), 0o600))
	return config.LoadEnviron(path, []string{"A_SECRET=s"})
}

// TestIssuerAlone: an issuer configures an app, with provider: generic or without; what
// the app says beside it is kept apart, because it wins over what the issuer says.
func TestIssuerAlone(t *testing.T) {
	t.Parallel()
	for _, app := range []string{"issuer: https://idp.example/a", "provider: generic, issuer: https://idp.example/a", "issuer: http://127.0.0.1:9/a", "provider: keycloak, issuer: https://kc.example/realms/a",
		"mcp: https://mcp.example/mcp", "issuer: https://idp.example, token_url: https://idp.example/token", "issuer: https://idp.example, account: {from: introspection, name: sub}"} {
		cfg, err := describing(t, app)
		require.NoError(t, err, app)
		require.NotNil(t, cfg.Apps[0].Discovery, app)
		_, err = cfg.App("a")
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "a program that reads nothing cannot use it")
		known, err := cfg.Configured("a")
		require.NoError(t, err)
		assert.Equal(t, cfg.Apps[0], known)
		cfg.CompleteWith(func(app provider.App) (provider.App, error) {
			app.Discovery, app.Provider.TokenURL = nil, "https://found.example"
			return app, nil
		})
		done, err := cfg.App("a")
		require.NoError(t, err)
		assert.Equal(t, "https://found.example", done.Provider.TokenURL)
	}
	cfg, err := describing(t, "provider: generic, issuer: https://idp.example, token_url: https://idp.example/token, auth_style: header")
	require.NoError(t, err)
	assert.Nil(t, cfg.Apps[0].Discovery, "who said everything asks nobody")
	for app, says := range map[string]string{
		"issuer: http://idp.example":                                      "but issuer must begin with https://",
		"issuer: idp.example":                                             "but issuer is not a whole URL",
		"issuer: 'https://idp.example/?a=b'":                              "but issuer must have no query",
		"issuer: 'https://u:p@idp.example'":                               "must not hold credentials",
		"mcp: http://mcp.example":                                         "mcp must begin with https://",
		"replay_class: unknown":                                           "provider is needed",
		"issuer: https://idp.example, account: {from: callback, name: x}": "account from callback needs a url",
	} {
		_, err := describing(t, app)
		require.ErrorContains(t, err, says, app)
	}
}
