package connectui_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
)

// edited returns a callback's URL with one parameter changed, as in the address bar.
func edited(t *testing.T, callback, name, value string) string {
	t.Helper()
	u, err := url.Parse(callback)
	require.NoError(t, err)
	q := u.Query()
	require.True(t, q.Has(name))
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// TestEditedCallback: a customer changes the account in the callback's address. Nothing
// is stored under that account's id, neither anew nor over a connection that has it.
func TestEditedCallback(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{App: Books}).Link.Reveal(), Consent{Account: "victim"})
	victim := only(t, w)
	require.Equal(t, "victim", victim.AccountID)
	for name, c := range map[string]struct {
		request connect.SessionRequest
		account string
	}{
		"over a connection":         {connect.SessionRequest{App: Books}, "victim"},
		"of another tenant":         {connect.SessionRequest{App: Books, Tenant: "t2"}, "victim"},
		"over the one to reconnect": {connect.SessionRequest{ConnectionID: victim.ID}, "victim"},
		"under a name of nobody":    {connect.SessionRequest{App: Books}, "nobody"},
		"a path":                    {connect.SessionRequest{App: Books}, "../accounts/mine"},
		"the folder above":          {connect.SessionRequest{App: Books}, ".."},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.Link(t, c.request)
			b := w.Browser(t)
			callback := b.Answer(b.Begin(b.Open(s.Link.Reveal())), Consent{Account: "mine"})
			p := b.Open(edited(t, callback, "account", c.account))
			assert.Equal(t, "Acme Books could not be connected", p.Heading())
			assert.Equal(t, perennial.ConnectAccountUnknown, session(t, w, s.ID).Outcome)
			assert.Equal(t, victim, only(t, w), "nothing was stored")
		})
	}
	assert.False(t, grant(t, w.Provider, Books, "victim").Revoked)
	w.Browser(t).Go(w.Link(t, connect.SessionRequest{App: Books}).Link.Reveal(), Consent{Account: "mine"})
	assert.Len(t, all(t, w), 2, "unedited, it is stored under its own id")
}
