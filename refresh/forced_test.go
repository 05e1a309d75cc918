package refresh

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// force asks for a refresh as a caller does.
func (b *bundle) force(t *testing.T, generation int64, trigger perennial.Trigger) Result {
	t.Helper()
	res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", App: "app", Generation: generation, Trigger: trigger})
	require.NoError(t, err)
	return res
}

// TestForced: a caller's first refresh goes through. A loop of them presents nothing, asks
// neither gate nor provider, and hears until when. A refresh of the workflow's own goes.
func TestForced(t *testing.T) {
	t.Parallel()
	for name, rate := range map[string]float64{"without a limit": 0, "with one": 100} {
		for _, trigger := range []perennial.Trigger{perennial.TriggerRequest, perennial.TriggerFallback, perennial.TriggerTokenRefused, perennial.TriggerRevoked} {
			t.Run(name+", "+string(trigger), func(t *testing.T) {
				t.Parallel()
				b := setupOn(t, testpg.URL(t), fresh("2"), fresh("3"), fresh("4"))
				b.app.MaxRefreshesPerSecond = rate
				observed := &seen{}
				b.Observer = observed
				require.Equal(t, perennial.OutcomeRefreshed, b.force(t, 1, trigger).Outcome)
				for range 20 {
					res := b.force(t, 2, trigger)
					require.Equal(t, perennial.OutcomeThrottled, res.Outcome)
					require.Equal(t, string(store.VerdictTooSoon), res.Code)
					require.Equal(t, res.Connection.ForcedAt.Add(10*time.Second), res.RetryAt)
					require.EqualValues(t, 2, res.Connection.Generation)
				}
				assert.Len(t, b.shown, 1)
				require.Len(t, observed.all, 21)
				for _, o := range observed.all[1:] {
					assert.Equal(t, "app", o.App)
					assert.False(t, o.Presented)
				}
				assert.Equal(t, perennial.OutcomeAlreadyFresh, b.force(t, 1, trigger).Outcome, "who has the token before gets this one")
				b.exec(t, "UPDATE connections SET forced_at = forced_at - interval '10 seconds'")
				require.Equal(t, perennial.OutcomeRefreshed, b.force(t, 2, trigger).Outcome)
				res := b.force(t, 3, trigger)
				require.Equal(t, res.Connection.ForcedAt.Add(20*time.Second), res.RetryAt)
				require.Equal(t, perennial.OutcomeRefreshed, b.force(t, 3, perennial.TriggerTimer).Outcome)
				assert.Len(t, b.shown, 3)
			})
		}
	}
}

// TestForcedAtOnce: callers with the same refused token share one refresh. One that comes
// after it gets the first one's token.
func TestForcedAtOnce(t *testing.T) {
	t.Parallel()
	b := setupOn(t, testpg.URL(t), fresh("2"))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			res, err := b.Engine.Refresh(context.Background(), Request{ConnectionID: "con_1", App: "app", Generation: 1, Trigger: perennial.TriggerRequest})
			assert.NoError(t, err)
			assert.Contains(t, []perennial.Outcome{perennial.OutcomeRefreshed, perennial.OutcomeBusy, perennial.OutcomeAlreadyFresh}, res.Outcome)
		})
	}
	all.Wait()
	assert.Len(t, b.shown, 1)
	assert.EqualValues(t, 2, b.force(t, 1, perennial.TriggerRequest).Connection.Generation)
}

// TestNoFloor: with the floor switched off callers may ask as often as they like.
func TestNoFloor(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"), fresh("4"))
	b.Timing.ForcedFloor = timing.NoFloor
	for generation := int64(1); generation < 4; generation++ {
		require.Equal(t, perennial.OutcomeRefreshed, b.force(t, generation, perennial.TriggerRequest).Outcome)
	}
}
