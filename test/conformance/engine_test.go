package conformance

import (
	"context"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

func TestRotates(t *testing.T) {
	t.Parallel()
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		b := setup(t, perennial.ReplaySingleUse)
		b.app.Provider.AuthStyle = style
		seen := map[string]bool{}
		for generation := int64(2); generation <= 6; generation++ {
			res := b.refresh(t)
			require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, "%s %s", res.Code, res.Description)
			assert.Equal(t, generation, res.Connection.Generation)
			token := b.open(t, seal.FieldRefreshToken)
			assert.False(t, seen[token.Reveal()], "a new refresh token each time")
			seen[token.Reveal()] = true
			assert.True(t, b.alive(b.open(t, seal.FieldAccessToken)))
		}
		assert.EqualValues(t, 5, b.requests.Load())
	}
}

// TestReuseEndsTheGrant is about the server: presenting a used refresh token ends the
// newer tokens too.
func TestReuseEndsTheGrant(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	first := s.consent(t)
	again := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.RefreshToken.Reveal()}}
	second := s.post(t, again)
	access := perennial.NewSecret(second["access_token"].(string))
	require.True(t, s.alive(access))
	assert.Contains(t, s.post(t, again), "error")
	assert.False(t, s.alive(access))
}

// TestLostReply: the reply is cut off after the rotation. The next presentation
// triggers the server's reuse detection, and the connection's reason says that we lost
// the reply.
func TestLostReply(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplaySingleUse)
	b.lose = 1
	res := b.refresh(t)
	assert.Equal(t, perennial.OutcomeUnknown, res.Outcome)
	assert.True(t, res.Connection.Ambiguous())
	assert.Equal(t, perennial.OutcomeRevoked, b.refresh(t).Outcome)
	assert.Equal(t, perennial.StatusActive, b.row(t).Status, "not believed at once")
	b.refresh(t)
	assert.Equal(t, perennial.StatusReconnectRequired, b.row(t).Status)
	assert.Equal(t, perennial.ReasonRotationLost, b.row(t).Reason)
}

// TestLostReplyWhereReuseRevokes: while the row's access token is valid, the engine
// does not present the old refresh token, so the server revokes nothing.
func TestLostReplyWhereReuseRevokes(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplayReuseRevokes)
	b.lose = 1
	require.Equal(t, perennial.OutcomeUnknown, b.refresh(t).Outcome)
	for range 5 {
		assert.Equal(t, perennial.OutcomeThrottled, b.refresh(t).Outcome)
	}
	assert.EqualValues(t, 1, b.requests.Load())
	assert.WithinDuration(t, b.row(t).ExpiresAt, b.row(t).NextAttemptAt, time.Minute+12*time.Second, "until its end")
	assert.Equal(t, perennial.StatusActive, b.row(t).Status)
}

func TestNextSecret(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplaySingleUse)
	b.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong")}
	assert.Equal(t, perennial.OutcomeMisconfigured, b.refresh(t).Outcome)
	assert.Equal(t, perennial.StatusActive, b.row(t).Status)

	b = setup(t, perennial.ReplaySingleUse)
	b.app.ClientSecrets = []perennial.Secret{perennial.NewSecret("wrong"), perennial.NewSecret(clientSecret)}
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t).Outcome, "a rejected client spends nothing")
	assert.EqualValues(t, 2, b.requests.Load())
}

// TestUserRevokes: the user withdraws consent (RFC 7009 at the server).
func TestUserRevokes(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplaySingleUse)
	require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t).Outcome)
	require.NoError(t, provider.NewClient(provider.ClientConfig{}).Revoke(t.Context(), b.app, b.open(t, seal.FieldRefreshToken)))
	b.refresh(t)
	b.refresh(t)
	assert.Equal(t, perennial.StatusReconnectRequired, b.row(t).Status)
	assert.Equal(t, perennial.ReasonInvalidGrant, b.row(t).Reason)
}

func TestManyCallersOneRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, perennial.ReplayReuseRevokes)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			_, err := b.Refresh(context.Background(), refresh.Request{ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer})
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, b.requests.Load())
	assert.True(t, b.alive(b.open(t, seal.FieldAccessToken)), "nothing was revoked")
}
