package provider

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"golang.org/x/oauth2"
)

// TestPublicOnly: an app whose endpoints a foreign document has named sends nothing to an
// address that is not public: no refresh token, no code, no revocation, no access token.
func TestPublicOnly(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(inside.Close)
	c, secret := NewClient(ClientConfig{}), perennial.NewSecret("secret")
	app := App{Name: "a", ClientID: "id", PublicOnly: true, Provider: Entry{Name: "p", TokenURL: inside.URL, RevokeURL: inside.URL, AuthStyle: oauth2.AuthStyleInHeader,
		Account: AccountSource{From: AccountFromURL, Name: "id", URL: inside.URL}}}
	ask := func() {
		reply := c.Refresh(t.Context(), app, secret, perennial.NewSecret("token"), func(context.Context) error { return nil })
		if app.PublicOnly {
			assert.Equal(t, []any{perennial.OutcomeUnavailable, false}, []any{reply.Outcome, reply.Sent})
		}
		c.Exchange(t.Context(), app, secret, AuthorizationCode{Code: perennial.NewSecret("code")})
		_ = c.Revoke(t.Context(), app, perennial.NewSecret("token"))
		_, _ = c.Account(t.Context(), app, secret, perennial.NewSecret("token"), "", "")
	}
	ask()
	assert.Zero(t, asked.Load())
	app.PublicOnly = false
	ask()
	assert.GreaterOrEqual(t, asked.Load(), int32(4))
}

// TestPublicOnlyWithACertificate: a client certificate does not lead past that, also if
// another app has used the same one at an address that is not public.
func TestPublicOnlyWithACertificate(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(inside.Close)
	c, key := NewClient(ClientConfig{}), ecKey(t).both
	for _, style := range []oauth2.AuthStyle{AuthStyleTLS, AuthStylePrivateKeyJWT} {
		app := App{Name: "a", ClientID: "id", Provider: Entry{Name: "p", TokenURL: inside.URL, AuthStyle: style}}
		asked.Store(0)
		c.Refresh(t.Context(), app, key, perennial.NewSecret("token"), free)
		assert.Equal(t, int32(1), asked.Load())
		app.PublicOnly = true
		reply := c.Refresh(t.Context(), app, key, perennial.NewSecret("token"), free)
		assert.Equal(t, []any{perennial.OutcomeUnavailable, false}, []any{reply.Outcome, reply.Sent})
		assert.Equal(t, int32(1), asked.Load())
	}
}
