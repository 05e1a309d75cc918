package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
)

// TestLife takes one connection through everything that can happen to it, on both
// databases. Later versions must replay its histories.
func TestLife(t *testing.T) {
	t.Parallel()
	t.Run("PostgreSQL", func(t *testing.T) { t.Parallel(); life(t, setting{}) })
	t.Run("SQLite", func(t *testing.T) { t.Parallel(); life(t, setting{url: sqlite(t)}) })
}

func life(t *testing.T, o setting) {
	ctx := context.Background()
	s := setup(t, o)
	stop := s.work()
	fast := fakeprovider.Knobs{LifetimeSeconds: 6, Rotate: true, IdleSeconds: 3600}
	c := s.connect("a1", fast)
	s.until(c.ID, "two refreshes with rotation", generation(3))
	first := s.describe(c.ID)

	// A second start for the same connection joins the first.
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { assert.NoError(t, s.updates.Signal(ctx, c, workflows.SignalNudge)) })
	}
	wg.Wait()
	assert.Equal(t, first.FirstRunId, s.describe(c.ID).FirstRunId)

	// The worker stops in an orderly way, and another continues.
	stop()
	before := s.get(c.ID)
	s.work()
	s.until(c.ID, "a refresh by the next worker", generation(before.Generation+1))

	_, err := s.service.Pause(ctx, perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	_, err = s.updates.RefreshNow(ctx, c.ID, workflows.RefreshNow{})
	assert.Equal(t, perennial.CodePaused, perennial.CodeOf(err))
	_, err = s.service.Resume(ctx, perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	paused := s.get(c.ID)
	s.until(c.ID, "a refresh after the pause", generation(paused.Generation+1))

	require.NoError(t, s.provider.Revoke(clientID, "a1"))
	lost := s.until(c.ID, "the revocation confirmed", status(perennial.StatusReconnectRequired))
	assert.Equal(t, perennial.ReasonInvalidGrant, lost.Reason)
	attempts, err := s.deps.Store.Attempts(ctx, perennial.WorkerAccess(), c.ID, 2)
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	for _, a := range attempts {
		assert.Equal(t, perennial.OutcomeRevoked, a.Outcome, "a refusal is believed when it is repeated")
	}
	s.eventually("the search attribute says so", func() bool {
		have := s.describe(c.ID).SearchAttributes.IndexedFields["PerennialStatus"]
		return string(have.GetData()) == `"reconnect_required"`
	})
	_, err = s.updates.RefreshNow(ctx, c.ID, workflows.RefreshNow{})
	assert.Equal(t, perennial.CodeReconnectRequired, perennial.CodeOf(err))

	other := s.consent("another account", fast)
	_, err = s.service.Reconnect(ctx, perennial.WorkerAccess(), c.ID, other)
	assert.Equal(t, perennial.CodeAccountMismatch, perennial.CodeOf(err))
	assert.Equal(t, perennial.StatusReconnectRequired, s.get(c.ID).Status)

	again, err := s.service.Reconnect(ctx, perennial.WorkerAccess(), c.ID, s.consent("a1", fast))
	require.NoError(t, err)
	assert.Equal(t, lost.Generation+1, again.Generation)
	s.until(c.ID, "a refresh after the reconnect", generation(again.Generation+1))
	assert.Equal(t, first.FirstRunId, s.describe(c.ID).FirstRunId, "still the same workflow")

	gone, err := s.service.Disconnect(ctx, perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	assert.Empty(t, gone.RefreshTokenSealed)
	s.eventually("the workflow completes", func() bool {
		return s.describe(c.ID).Status == enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
	})
	back := s.connect("a1", fast)
	assert.Equal(t, c.ID, back.ID, "the same connection")
	s.until(c.ID, "a refresh after the revival", generation(back.Generation+1))
	assert.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, s.describe(c.ID).Status)

	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	s.replayAll(c.ID, "life")
}
