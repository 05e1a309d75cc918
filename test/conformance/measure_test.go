package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestMeasure: what is measured of fosite is what its documentation says of it: it rotates
// always, reuse ends the grant, a wrong client is refused first and spends nothing.
func TestMeasure(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	app := provider.App{Name: "app", ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret(clientSecret)},
		Provider: provider.Entry{Name: "generic", TokenURL: s.URL + "/token", RevokeURL: s.URL + "/revoke", AuthStyle: oauth2.AuthStyleInHeader}}
	out, err := measure.Run(t.Context(), measure.Config{App: app, Client: provider.NewClient(provider.ClientConfig{}), Longest: 2 * time.Second,
		Consent: func(context.Context) (perennial.TokenSet, error) { return s.consent(t), nil },
		Alive:   func(_ context.Context, token perennial.Secret) (bool, error) { return s.alive(token), nil }})
	require.NoError(t, err)
	for key, want := range map[string]string{
		"rotation":                   "always",
		"replay_class":               "reuse_revokes",
		"grace_window":               "",
		"refresh_within":             "none",
		"refresh_kills_access_token": "true",
		"checks_client_first":        "true",
		"spellings.revoked":          "understood",
		"spellings.misconfigured":    "understood",
		"default_lifetime":           "1h",
		"lifetime_unit":              "", // its access token outlives the longest wait
		measure.KeyWrongClientSpends: "false",
		"grants_per_user":            "",
		"revocation":                 "ends the refresh token, its access token; not another grant of the account",
	} {
		assert.Equal(t, want, out.Value(key), "%s: %+v", key, out.Findings)
	}
	assert.Equal(t, 3, out.Consents)
	assert.Zero(t, out.Left)
}
