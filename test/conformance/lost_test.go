package conformance

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReuseEndsTheNewerRefreshToken is about the server: after a reuse it refuses the
// newer refresh token too.
func TestReuseEndsTheNewerRefreshToken(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	show := func(token string) map[string]any {
		return s.post(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	}
	first := s.consent(t)
	second := show(first.RefreshToken.Reveal())
	require.NotContains(t, second, "error")
	assert.False(t, s.alive(first.AccessToken), "this server ends the old access token with each rotation")
	third := show(second["refresh_token"].(string))
	require.NotContains(t, third, "error", "without a reuse the chain goes on")
	assert.Equal(t, "invalid_grant", show(second["refresh_token"].(string))["error"])
	assert.Equal(t, "invalid_grant", show(third["refresh_token"].(string))["error"])
	assert.False(t, s.alive(perennial.NewSecret(third["access_token"].(string))))
}

// TestLostReplyStepByStep makes one presentation at a time and checks the row and the
// server after each.
func TestLostReplyStepByStep(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.consent(t)
	f := newFleet(t, s, first, 1, perennial.ReplaySingleUse, nil)
	s.lose = 1
	res := f.ask(t)
	assert.Equal(t, perennial.OutcomeUnknown, res.Outcome)
	assert.Equal(t, "connection_lost", res.Code)
	assert.True(t, res.Connection.Ambiguous())
	assert.False(t, s.alive(first.AccessToken), "the server did rotate")
	assert.Equal(t, first.RefreshToken.Reveal(), f.token(t, seal.FieldRefreshToken).Reveal())

	assert.Equal(t, perennial.OutcomeThrottled, f.ask(t).Outcome, "the backoff is kept")
	f.wait(t)
	res = f.ask(t)
	assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
	assert.Equal(t, "invalid_grant", res.Code)
	assert.Equal(t, http.StatusBadRequest, res.HTTPStatus)
	assert.Equal(t, perennial.StatusActive, res.Connection.Status, "not believed at once")
	assert.True(t, res.Connection.Suspect())
	f.wait(t)
	res = f.ask(t)
	assert.Equal(t, "invalid_grant", res.Code)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status)
	assert.Equal(t, perennial.ReasonRotationLost, res.Connection.Reason)
	assert.EqualValues(t, 3, s.requests.Load())
	assert.Equal(t, perennial.OutcomeRefused, f.ask(t).Outcome)
	assert.EqualValues(t, 3, s.requests.Load(), "nothing is shown after the end")
}

// TestReuseRevokesShowsAgainOnlyAfterTheEnd: while the row's access token is valid,
// there is one request. After its expiry the old refresh token is presented and
// refused, and the reason says that we lost the reply.
func TestReuseRevokesShowsAgainOnlyAfterTheEnd(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.consent(t)
	first.ExpiresIn = 12 * time.Second // in the row; the server's own life is longer
	f := newFleet(t, s, first, 1, perennial.ReplayReuseRevokes, nil)
	s.lose = 1
	require.Equal(t, perennial.OutcomeUnknown, f.ask(t).Outcome)
	c, _ := f.row(t)
	require.True(t, c.Ambiguous())
	asked := 0
	for {
		res := f.ask(t)
		if res.Outcome != perennial.OutcomeThrottled {
			assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
			assert.False(t, res.Now.Before(c.ExpiresAt), "%s before the end", c.ExpiresAt.Sub(res.Now))
			break
		}
		asked++
		require.EqualValues(t, 1, s.requests.Load(), "held: the server sees nothing")
		time.Sleep(200 * time.Millisecond)
	}
	assert.Positive(t, asked, "it was asked for while the access token lived")
	f.wait(t)
	f.ask(t)
	c, _ = f.row(t)
	assert.Equal(t, perennial.StatusReconnectRequired, c.Status)
	assert.Equal(t, perennial.ReasonRotationLost, c.Reason)
	assert.EqualValues(t, 3, s.requests.Load(), "lost, refused, confirmed")
}

// TestRevokedStepByStep: a withdrawn consent is believed after one confirmation. The
// reason does not say that we lost a reply.
func TestRevokedStepByStep(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := newFleet(t, s, s.consent(t), 1, perennial.ReplayReuseRevokes, nil)
	require.Equal(t, perennial.OutcomeRefreshed, f.ask(t).Outcome)
	require.NoError(t, provider.NewClient(provider.ClientConfig{}).Revoke(t.Context(), f.app, f.token(t, seal.FieldRefreshToken)))
	require.False(t, s.alive(f.token(t, seal.FieldAccessToken)), "the server did revoke")
	res := f.ask(t)
	assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
	assert.Equal(t, "invalid_grant", res.Code)
	assert.False(t, res.Connection.Ambiguous())
	assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	f.wait(t)
	res = f.ask(t)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status)
	assert.Equal(t, perennial.ReasonInvalidGrant, res.Connection.Reason)
	assert.EqualValues(t, 3, s.requests.Load())
}
