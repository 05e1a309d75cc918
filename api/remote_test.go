package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func backend(t *testing.T, url, key string) *remote.Backend {
	t.Helper()
	b, err := remote.New(remote.Config{URL: url, Key: perennial.NewSecret(key)})
	require.NoError(t, err)
	return b
}

func fixture(t *testing.T) (clienttest.Fixture, *apitest.World) {
	w := apitest.New(t, testpg.URL(t))
	_, own := w.Key("acme", perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	_, other := w.Key("other", perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	id := w.Connect("acme").ID
	bare := func() client.Backend {
		w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Sessions = nil })
		_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
		return backend(t, w.URL(), key)
	}
	return clienttest.Fixture{Backend: backend(t, w.URL(), own), Other: backend(t, w.URL(), other), Bare: bare, ID: id,
		App: apitest.App, ReturnURL: apitest.ReturnURL + "settings", Revocable: w.ConnectTo(apitest.Revocable, "acme").ID,
		Revoked: func() int { return len(w.Revoked()) },
		Find: func(link perennial.Secret) perennial.ConnectSession {
			v, err := w.Sessions.Find(t.Context(), clienttest.TokenOf(link))
			require.NoError(t, err)
			return v.ConnectSession
		},
		Renew:     func(life time.Duration) { w.Renew(id, life) },
		SetStatus: func(s perennial.Status, r perennial.Reason) { w.SetStatus(id, s, r) },
		Row:       func() perennial.Connection { return w.Row(id) },
		Refreshes: w.Refreshes,
		OutOfReach: func() func() {
			require.NoError(t, w.DB.Close())
			return func() {}
		},
	}, w
}

// TestContract: the remote backend does what every backend does.
func TestContract(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture { f, _ := fixture(t); return f })
}

// TestServerAway: the last part of the contract, without any server.
func TestServerAway(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture {
		f, w := fixture(t)
		f.OutOfReach = func() func() { w.Server.Close(); return func() {} }
		return f
	})
}

// TestErrors: product code gets the same errors as beside the store.
func TestErrors(t *testing.T) {
	t.Parallel()
	f, w := fixture(t)
	c, err := client.New(client.Config{Backend: f.Backend})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f.SetStatus(perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	w.Exec("UPDATE connections SET expires_at = now() - interval '1 second'")
	_, err = c.Token(t.Context(), f.ID)
	var needed *client.ErrReconnectRequired
	require.ErrorAs(t, err, &needed)
	assert.Equal(t, perennial.ReasonInvalidGrant, needed.Reason)
	assert.Equal(t, "https://app.example/"+f.ID, needed.ReconnectURL)
	assert.Equal(t, "https://help.example", needed.HelpURL)
	assert.NotZero(t, needed.Since)
	for _, id := range []string{"", ".", "..", "../apps", "a/b", strings.Repeat("x", 500), "a b?c#d%"} {
		_, err = c.Token(t.Context(), id)
		assert.ErrorAs(t, err, new(*client.ErrNotFound), id)
	}
	revoked, key := w.Key("acme", perennial.ScopeTokensRead)
	require.NoError(t, w.Keys.Revoke(t.Context(), perennial.CommandLineAccess(), revoked.ID))
	_, err = backend(t, w.URL(), key).Load(t.Context(), f.ID)
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "a wrong key is no missing connection")
	assert.ErrorContains(t, err, "unauthorized")
	assert.NotContains(t, err.Error(), key[len(revoked.ID)+1:])
	_, narrow := w.Key("acme", perennial.ScopeConnectionsWrite)
	_, err = backend(t, w.URL(), narrow).Load(t.Context(), f.ID)
	assert.ErrorContains(t, err, "insufficient_scope")
	assert.NotContains(t, w.Logs.String(), clienttest.Secret)
}

// TestNarrowKey: a key without the scope has its own error, which is not that of a
// missing connection.
func TestNarrowKey(t *testing.T) {
	t.Parallel()
	f, w := fixture(t)
	_, narrow := w.Key("acme", perennial.ScopeTokensRead)
	c, err := client.New(client.Config{Backend: backend(t, w.URL(), narrow)})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Token(t.Context(), f.ID)
	require.NoError(t, err)
	_, err = c.Disconnect(t.Context(), f.ID)
	require.ErrorAs(t, err, new(*client.ErrInvalid))
	assert.ErrorContains(t, err, "connections:write")
	assert.Equal(t, perennial.StatusActive, f.Row().Status)
	_, err = c.Connect(t.Context(), client.ConnectRequest{App: f.App})
	require.ErrorAs(t, err, new(*client.ErrInvalid))
	assert.NotContains(t, err.Error(), narrow)
}

// TestProductsClient: with the product's key a client serves the tenant that it names.
func TestProductsClient(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	c := w.Connect("acme")
	key := makeKey(t, w, "", everyTenant, perennial.ScopeTokensRead)
	of := func(tenant string) error {
		b, err := remote.New(remote.Config{URL: w.URL(), Key: perennial.NewSecret(key), Tenant: tenant})
		require.NoError(t, err)
		_, err = b.Load(t.Context(), c.ID)
		return err
	}
	require.NoError(t, of("acme"))
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(of("other")))
	assert.ErrorContains(t, of(""), "Perennial-Tenant")
}
