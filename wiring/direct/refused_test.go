package direct

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRefused: the workflow hears why. A report of a token that has been replaced, and one
// while the row waits, costs a read.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	require.NoError(t, b.Refused(t.Context(), b.id, 1, perennial.RefusalTokenRefused))
	require.Equal(t, []perennial.RefusalCause{perennial.RefusalTokenRefused}, b.reported)
	for range 1000 {
		require.NoError(t, b.Refused(t.Context(), b.id, 1, perennial.RefusalTokenRefused))
	}
	assert.EqualValues(t, 1, b.calls.Load())
	require.NoError(t, b.Refused(t.Context(), b.id, 0, perennial.RefusalRevoked))
	assert.EqualValues(t, 3, b.row().Generation)

	b.overdue("confirm_at", -time.Minute)
	require.NoError(t, b.Refused(t.Context(), b.id, 3, perennial.RefusalRevoked))
	assert.EqualValues(t, 2, b.calls.Load(), "it is being confirmed")
	state, err := b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.InDelta(t, 60, state.RetryAt.Sub(state.Now).Seconds(), 20)

	for _, c := range []struct {
		generation int64
		why        perennial.RefusalCause
	}{{3, ""}, {3, "request"}, {0, perennial.RefusalTokenRefused}, {-1, perennial.RefusalRevoked}} {
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(b.Refused(t.Context(), b.id, c.generation, c.why)), c)
	}
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.of("other", nil).Refused(t.Context(), b.id, 3, perennial.RefusalRevoked)))
}

// TestRefusedFloor: the floor of forced refreshes holds for reports as for requests.
func TestRefusedFloor(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.forced("3")
	for _, why := range perennial.RefusalCauses {
		require.NoError(t, b.Refused(t.Context(), b.id, 1, why))
	}
	assert.Zero(t, b.calls.Load())
}

// TestRefusedWithoutTemporal: the engine asks the provider.
func TestRefusedWithoutTemporal(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent = true
	b.result = func(req refresh.Request) (refresh.Result, error) {
		assert.Equal(t, perennial.TriggerFallback, req.Trigger)
		return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
	}
	require.NoError(t, b.of("acme", engine{b}).Refused(t.Context(), b.id, 1, perennial.RefusalRevoked))
	assert.EqualValues(t, 1, b.presented.Load())
}
