package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func trialRequest(c perennial.Connection) store.SecretTrialRequest {
	return store.SecretTrialRequest{Connection: c, Rejected: "old", Configured: []string{"old", "new"}, Lease: lease}
}

func (b *bundle) tries(t *testing.T, req store.SecretTrialRequest) store.SecretTrial {
	t.Helper()
	trial, err := b.BeginSecretTrial(t.Context(), req)
	require.NoError(t, err)
	return trial
}

func (b *bundle) clientSecret(t *testing.T, app string) store.ClientSecret {
	t.Helper()
	s, err := b.ClientSecret(t.Context(), app)
	require.NoError(t, err)
	return s
}

// testClientSecrets: of an app's connections one tries the other secrets. The others
// wait, and then know which one is accepted.
func testClientSecrets(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	app := cs[0].App
	assert.Zero(t, b.clientSecret(t, app))
	var granted atomic.Int32
	b.together(t, func(ctx context.Context, s *store.Store, n int) error {
		req := trialRequest(cs[n%3])
		req.Connection.ID += string(rune('a' + n)) // each another connection
		trial, err := s.BeginSecretTrial(ctx, req)
		if trial.Granted {
			granted.Add(1)
		}
		return err
	})
	assert.EqualValues(t, 1, granted.Load())
	b.endAnyTrial(t, app)

	require.True(t, b.tries(t, trialRequest(cs[0])).Granted)
	assert.True(t, b.tries(t, trialRequest(cs[0])).Granted, "its own answer was lost")
	assert.Equal(t, store.SecretTrial{Busy: true}, b.tries(t, trialRequest(cs[1])))
	s := b.clientSecret(t, app)
	assert.Equal(t, cs[0].ID, s.TrialBy)
	assert.Less(t, s.TrialFor, time.Minute)

	require.NoError(t, b.EndSecretTrial(t.Context(), cs[1], ""), "of another connection")
	assert.True(t, b.tries(t, trialRequest(cs[1])).Busy)
	require.NoError(t, b.EndSecretTrial(t.Context(), cs[0], ""))
	assert.Zero(t, b.clientSecret(t, app), "none was accepted")

	dead := trialRequest(cs[0])
	require.True(t, b.tries(t, dead).Granted)
	soon := trialRequest(cs[1])
	soon.Lease = 0
	assert.True(t, b.tries(t, soon).Granted, "the process of the first died")

	require.NoError(t, b.EndSecretTrial(t.Context(), cs[1], "new"))
	assert.Equal(t, store.ClientSecret{Digest: "new"}, b.clientSecret(t, app))
	assert.Equal(t, store.SecretTrial{Digest: "new"}, b.tries(t, trialRequest(cs[2])))
	again := trialRequest(cs[2])
	again.Rejected = "new"
	assert.True(t, b.tries(t, again).Granted, "the learnt one is rejected now")
	require.NoError(t, b.EndSecretTrial(t.Context(), cs[2], ""))
	other := trialRequest(cs[2])
	other.Configured = []string{"old", "newest"}
	assert.True(t, b.tries(t, other).Granted, "the learnt one is not configured here")
	assert.Zero(t, b.clientSecret(t, b.app(t, 1)[0].App), "another app knows nothing of it")
}

// endAnyTrial ends the app's trial, of any connection.
func (b *bundle) endAnyTrial(t *testing.T, app string) {
	t.Helper()
	require.NoError(t, b.EndSecretTrial(t.Context(), perennial.Connection{ID: b.clientSecret(t, app).TrialBy, App: app}, ""))
}

// testClientSecretsBare: a 401 without a reason is about the client if two connections
// got one, or if there is no other that could.
func testClientSecretsBare(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	bare := trialRequest(cs[0])
	bare.Bare = true
	assert.Zero(t, b.tries(t, bare))
	b.note(t, cs[0], perennial.OutcomeRejected, "http_401")
	assert.Zero(t, b.tries(t, bare), "it is the same connection's")
	b.note(t, cs[1], perennial.OutcomeRejected, "http_403")
	assert.Zero(t, b.tries(t, bare), "another refusal")
	second := trialRequest(cs[1])
	second.Bare = true
	assert.True(t, b.tries(t, second).Granted)

	alone := trialRequest(b.app(t, 1)[0])
	alone.Bare = true
	assert.True(t, b.tries(t, alone).Granted, "nobody else could get one")
}
