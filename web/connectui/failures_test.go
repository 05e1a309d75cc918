package connectui_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
)

// TestProviderErrors: the errors that the provider itself may return.
func TestProviderErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		knobs   fakeprovider.Knobs
		secrets []string
		heading string
		again   bool
	}{
		"down":              {knobs: fakeprovider.Knobs{AuthError: "server_error"}, heading: "Acme CRM does not answer", again: true},
		"down for a while":  {knobs: fakeprovider.Knobs{AuthError: "temporarily_unavailable"}, heading: "Acme CRM does not answer", again: true},
		"our registration":  {knobs: fakeprovider.Knobs{AuthError: "unauthorized_client"}, heading: "Acme CRM could not be connected"},
		"a scope of ours":   {knobs: fakeprovider.Knobs{AuthError: "invalid_scope"}, heading: "Acme CRM could not be connected"},
		"a word of its own": {knobs: fakeprovider.Knobs{AuthError: "<b>phish</b>"}, heading: "Acme CRM was not connected", again: true},
		"no token reply":    {knobs: fakeprovider.Knobs{ExchangeError: 1}, heading: "Acme CRM does not answer", again: true},
		"our secret":        {secrets: []string{"another"}, heading: "Acme CRM could not be connected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := New(t, nil)
			require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", c.knobs))
			if c.secrets != nil {
				require.NoError(t, w.Provider.SetSecrets("client-"+CRM, c.secrets...))
			}
			p := w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{})
			assert.Equal(t, http.StatusOK, p.Status)
			assert.Equal(t, c.heading, p.Heading())
			assert.Equal(t, c.again, strings.Contains(p.Text(), "Try again</button>"), p.Text())
			assert.NotContains(t, p.Body, "phish")
			assert.Empty(t, all(t, w))
		})
	}
}

// TestLookUpFails: the grant is kept, and the customer need not consent twice.
func TestLookUpFails(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 1}))
	s := w.Link(t, connect.SessionRequest{ReturnURL: w.Product.URL + "/settings"})
	b := w.Browser(t)
	p := b.Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "Almost done", p.Heading())
	assert.Empty(t, all(t, w))
	assert.NotEmpty(t, session(t, w, s.ID).ReplySealed)

	waiting := b.Press(p)
	assert.Equal(t, s.Link.Reveal(), waiting.Location, "it was tried a moment ago")
	assert.Empty(t, all(t, w))
	w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL, expires_at = clock_timestamp()") // the wait is over, and the link has expired
	end := b.Press(p)
	assert.Equal(t, "Acme CRM is connected", end.Heading(), "no redirect: a form's answer may not leave our origin")
	assert.Contains(t, end.Refresh(), w.Product.URL+"/settings?connect_outcome=connected")
	only(t, w)
	assert.Equal(t, 1, w.Provider.Oracle().TokenRequests)
}

// TestNobodyComesBack: after the exchange the customer closes the page, or the process
// dies. FinishAll finishes the session.
func TestNobodyComesBack(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 1}))
	s := w.Link(t, connect.SessionRequest{})
	w.Browser(t).Go(s.Link.Reveal(), Consent{})
	n, err := w.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	assert.Zero(t, n, "it waits")
	w.Exec(t, "UPDATE connect_sessions SET lease_until = clock_timestamp()")
	n, err = w.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, only(t, w).ID, session(t, w, s.ID).ResultID)

	w.Exec(t, "UPDATE connect_sessions SET expires_at = clock_timestamp() - interval '25 hours'")
	_, err = w.Sessions.FinishAll(t.Context(), 10)
	require.NoError(t, err)
	_, _, err = w.SessionRows.ByID(t.Context(), s.ID)
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "old sessions go")
}

// TestStoredButNotEnded: the process died between the two writes. The second try must
// not overwrite newer tokens with the first ones.
func TestStoredButNotEnded(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 1}))
	s := w.Link(t, connect.SessionRequest{})
	w.Browser(t).Go(s.Link.Reveal(), Consent{})
	held := session(t, w, s.ID)
	w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
	_, err := w.Sessions.Finish(t.Context(), s.ID)
	require.NoError(t, err)
	c := only(t, w)
	w.Exec(t, "UPDATE connect_sessions SET outcome = 'unfinished', result_id = '', reply_sealed = $1, lease_until = NULL", held.ReplySealed)
	again, err := w.Sessions.Finish(t.Context(), s.ID)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectConnected, again.Outcome)
	assert.Equal(t, c.ID, again.ResultID)
	assert.Equal(t, c.Generation, only(t, w).Generation)
}

// TestGivenUp: a reply that can never be stored is not tried for ever, and is deleted
// in the end.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	require.NoError(t, w.Provider.SetKnobs("client-"+CRM, "", fakeprovider.Knobs{InfoError: 1}))
	s := w.Link(t, connect.SessionRequest{})
	w.Browser(t).Go(s.Link.Reveal(), Consent{})
	w.Exec(t, "UPDATE connect_sessions SET reply_sealed = 'not sealed by us', tries = 18, lease_until = NULL")
	again, err := w.Sessions.Finish(t.Context(), s.ID)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectUnfinished, again.Outcome, "the 19th try")
	w.Exec(t, "UPDATE connect_sessions SET lease_until = NULL")
	again, err = w.Sessions.Finish(t.Context(), s.ID)
	require.NoError(t, err)
	assert.Equal(t, perennial.ConnectProviderDown, again.Outcome, "the 20th")
	assert.Empty(t, session(t, w, s.ID).ReplySealed)
}

// TestWorkflowNotTold: Temporal is away. The grant is stored, and the sweep signals the
// workflow later.
func TestWorkflowNotTold(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	w.Signals.Fail = context.DeadlineExceeded
	assert.Equal(t, "Acme CRM is connected", w.Browser(t).Go(w.Link(t, connect.SessionRequest{}).Link.Reveal(), Consent{}).Heading())
	only(t, w)
}

// TestConnectionGone: the connection to reconnect was deleted before the consent.
func TestConnectionGone(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	dead := reconnectable(t, w)
	s := w.Link(t, connect.SessionRequest{ConnectionID: dead.ID})
	w.Exec(t, "DELETE FROM connections")
	p := w.Browser(t).Go(s.Link.Reveal(), Consent{})
	assert.Equal(t, "There is nothing to reconnect", p.Heading())
	assert.True(t, grant(t, w.Provider, CRM, "62515").Revoked)
}
