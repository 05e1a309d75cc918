package connect

import (
	"reflect"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReplyIsKeptWhole: a token reply that waits sealed in its session comes back
// unchanged.
func TestReplyIsKeptWhole(t *testing.T) {
	t.Parallel()
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	s := &Sessions{SessionsConfig{Service: &Service{Config{Sealer: keys}}}}
	k := fill.Of[pendingReply]()
	k.AccessToken, k.RefreshToken, k.ExpiresIn = perennial.NewSecret("access"), perennial.NewSecret("refresh"), time.Hour
	require.Empty(t, fill.Zeros(k))
	c := fill.Of[perennial.ConnectSession]()
	c.ReplySealed, err = s.sealed(c, k)
	require.NoError(t, err)
	got, err := s.opened(c)
	require.NoError(t, err)
	assert.Equal(t, k, got)
}

// TestRowsBecomeSessions: every column of a row arrives in the session.
func TestRowsBecomeSessions(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"FinishCode", "Problem"}, fill.Zeros(fill.Of[sessionRow]().session()), "they are not stored")
}

// TestGrantsAreWhole: a consent's grant has everything that its session and reply have,
// and the connection everything of the grant. Each value is sealed for its session alone.
func TestGrantsAreWhole(t *testing.T) {
	t.Parallel()
	c := fill.Of[perennial.ConnectSession]()
	k := fill.Of[pendingReply]()
	k.AccessToken = perennial.NewSecret("access")
	g := grantOf(c, k, "account")
	assert.Equal(t, []string{"Credentials"}, fill.Zeros(g), "they take the place of a consent")
	app := fill.Of[provider.App]()
	assert.Equal(t, perennial.Connection{TenantID: g.Tenant, App: g.App, AccountID: g.Account, Cadence: app.Cadence, Provider: app.Provider.Name}, g.connection(app))
	assert.NotContains(t, []string{g.Tenant, g.App, g.Account, string(app.Cadence), app.Provider.Name}, "")
	assert.Empty(t, fill.Zeros(sessionBinding(c, seal.FieldCodeVerifier, 3)))
}

// TestSessionIsAsAsked: a session has everything that it was asked for with.
func TestSessionIsAsAsked(t *testing.T) {
	t.Parallel()
	full := reflect.ValueOf(fill.Of[SessionRequest]().session())
	var zero []string
	for _, name := range []string{"TenantID", "TenantTitle", "App", "ConnectionID", "Host", "ReturnURL", "Mode", "Scopes", "Challenge"} {
		if full.FieldByName(name).IsZero() {
			zero = append(zero, name)
		}
	}
	assert.Empty(t, zero)
}
