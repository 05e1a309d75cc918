package refresh

import (
	"errors"
	"math"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbers are generations that a caller may name while the row is at generation 1.
var numbers = []int64{math.MinInt64, -1, 0, 1, 2, 3, 10_001, 10_002, 5000, 1 << 53, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}

// TestCallersGeneration: a caller's generation is never a floor. If it is above the
// row's, the caller is refused and told the row's, and nothing is presented.
func TestCallersGeneration(t *testing.T) {
	t.Parallel()
	for _, trigger := range []perennial.Trigger{perennial.TriggerFallback, perennial.TriggerRequest} {
		for _, app := range []string{"", "app"} {
			for _, n := range numbers {
				b := setup(t, fresh("2"))
				res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: n, App: app, Trigger: trigger})
				row, _, getErr := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
				require.NoError(t, getErr)
				assert.Zero(t, row.GenerationFloor, n)
				switch {
				case n < 1:
					assert.NoError(t, err, n)
					assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome, n)
				case n == 1:
					assert.NoError(t, err)
					assert.EqualValues(t, 2, row.Generation)
					continue
				default:
					ahead, ok := errors.AsType[*perennial.GenerationAheadError](err)
					require.True(t, ok, "%d: %v", n, err)
					assert.EqualValues(t, 1, ahead.Generation)
				}
				assert.Empty(t, b.shown, n)
				assert.Equal(t, b.c, row, n)
			}
		}
	}
}

// TestWorkflowsGeneration: the workflow's generation is a floor if a restore may have
// taken the row back that far. Any other is not believed. Either way the token is
// presented once, and the new generation can be stored.
func TestWorkflowsGeneration(t *testing.T) {
	t.Parallel()
	for _, n := range numbers {
		b := setup(t, fresh("2"))
		res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: n, Floor: n, Trigger: perennial.TriggerTimer})
		require.NoError(t, err, n)
		if n < 1 {
			assert.Equal(t, perennial.OutcomeAlreadyFresh, res.Outcome, n)
			continue
		}
		want := int64(2)
		if n <= 1+perennial.MaxGenerationGap {
			want = n + 1
		}
		assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, n)
		assert.Equal(t, want, res.Connection.Generation, n)
		assert.Len(t, b.shown, 1, n)
	}
}
