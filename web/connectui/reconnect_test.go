package connectui_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
)

// reconnectable returns a connection whose grant the customer removed.
func reconnectable(t *testing.T, w *World) perennial.Connection {
	t.Helper()
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	c := only(t, w)
	require.NoError(t, w.Provider.Revoke("client-"+CRM, c.AccountID))
	c, err := w.Store.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	require.NoError(t, err)
	return c
}

func TestReconnect(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	dead := reconnectable(t, w)
	s := w.Link(t, connect.SessionRequest{ConnectionID: dead.ID})
	b := w.Browser(t)
	begin := b.Open(s.Link.Reveal())
	assert.Equal(t, "Reconnect Acme CRM", begin.Heading())
	assert.Contains(t, begin.Text(), "Access was removed in Acme CRM.")
	assert.Contains(t, begin.Text(), "62515")
	assert.Equal(t, "Acme CRM is connected", b.Open(b.Answer(b.Begin(begin), Consent{})).Heading())
	c := only(t, w)
	assert.Equal(t, dead.ID, c.ID)
	assert.Equal(t, dead.Generation+1, c.Generation)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.Equal(t, []perennial.EventType{perennial.EventConnected, perennial.EventReconnectRequired, perennial.EventRecovered}, events(t, w))
	assert.Equal(t, grant(t, w.Provider, CRM, "62515").LiveRefreshTokens, []string{c.RefreshTokenDigest})
}

// TestReconnectAnotherAccount: the grant is refused and revoked at the provider, and
// the connection does not change.
func TestReconnectAnotherAccount(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	dead := reconnectable(t, w)
	b := w.Browser(t)
	p := b.Go(w.Link(t, connect.SessionRequest{ConnectionID: dead.ID}).Link.Reveal(), Consent{Account: "999"})
	assert.Equal(t, "That is another account", p.Heading())
	assert.Contains(t, p.Text(), "62515")
	assert.Equal(t, dead, only(t, w))
	wrong := grant(t, w.Provider, CRM, "999")
	assert.True(t, wrong.Revoked)
	assert.Empty(t, wrong.LiveRefreshTokens)
	assert.Zero(t, wrong.LiveAccessTokens)

	assert.Equal(t, "Acme CRM is connected", b.Open(b.Answer(b.Begin(p), Consent{})).Heading(), "try again, with the right one")
	assert.Equal(t, dead.ID, only(t, w).ID)
}

// TestAnotherAccountInUse: if the refused grant's account has a working connection, of
// whatever tenant, the grant is not revoked. Most providers would end that connection's
// grant too.
func TestAnotherAccountInUse(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
	first := only(t, w)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{Tenant: "t2"}).Link.Reveal(), Consent{Account: "999"})
	p := w.Browser(t).Go(w.Link(t, connect.SessionRequest{ConnectionID: first.ID}).Link.Reveal(), Consent{Account: "999"})
	assert.Equal(t, "That is another account", p.Heading())
	assert.False(t, grant(t, w.Provider, CRM, "999").Revoked)
	assert.Contains(t, w.Logs.String(), "refused grant not revoked")
}
