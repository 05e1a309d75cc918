package connect_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTokensWithoutRefreshToken: a caller's access token is stored for a provider that gives
// no refresh token, and ends with it. At any other provider it is refused, as before.
func TestTokensWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	apps := credentialApps{}
	for _, name := range []string{"facebook", "intercom", "google"} {
		e, ok := provider.Lookup(name)
		require.True(t, ok)
		apps[name] = provider.App{Name: name, Provider: e, ClientID: "id"}
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "p.db"))
	require.NoError(t, err)
	defer db.Close()
	_, _, err = db.Migrate(t.Context())
	require.NoError(t, err)
	keyring, err := seal.NewEphemeral()
	require.NoError(t, err)
	service := connect.New(connect.Config{Store: db, Apps: apps, Sealer: keyring, Workflows: apps})
	now, err := db.Now(t.Context())
	require.NoError(t, err)
	grant := func(app string, tokens perennial.TokenSet) connect.Grant {
		return connect.Grant{Tenant: "t", App: app, Account: "a1", Tokens: tokens, ObtainedAt: now}
	}
	access := perennial.TokenSet{AccessToken: perennial.NewSecret("planted-access"), ExpiresIn: 60 * 24 * time.Hour}

	c, err := service.Connect(t.Context(), perennial.WorkerAccess(), grant("facebook", access))
	require.NoError(t, err)
	assert.NotEmpty(t, c.RefreshTokenDigest)
	assert.WithinDuration(t, now.Add(access.ExpiresIn), c.RefreshTokenExpiresAt, time.Second)
	before := c.RefreshTokenDigest
	access.AccessToken = perennial.NewSecret("another")
	c, err = service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, grant("facebook", access))
	require.NoError(t, err)
	assert.NotEqual(t, before, c.RefreshTokenDigest)

	access.ExpiresIn = 0
	c, err = service.Connect(t.Context(), perennial.WorkerAccess(), grant("intercom", access))
	require.NoError(t, err)
	assert.Empty(t, c.FailingCode)
	assert.Greater(t, c.ExpiresAt.Sub(now), 9*365*24*time.Hour)
	assert.LessOrEqual(t, c.NextRefreshAt.Sub(now), 24*time.Hour)

	_, err = service.Connect(t.Context(), perennial.WorkerAccess(), grant("google", access))
	assert.ErrorContains(t, err, "the token reply has no refresh_token")
	access.RefreshToken = perennial.NewSecret("planted-refresh")
	_, err = service.Connect(t.Context(), perennial.WorkerAccess(), grant("facebook", access))
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "gives no refresh tokens")
	assert.NotContains(t, err.Error(), "planted")
}
