package activities_test

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// ledger has lines past their retention.
type ledger struct {
	old     int64
	batches int
	warned  int
	quiet   int
}

func (*ledger) Overdue(context.Context, time.Duration, int) ([]perennial.Connection, error) {
	return nil, nil
}

func (*ledger) InDoubt(context.Context, time.Duration, string, int) ([]perennial.Connection, error) {
	return nil, nil
}

func (l *ledger) Warn(context.Context, int) (int, error) {
	l.warned++
	return 1, nil
}

func (l *ledger) EndQuietHolds(context.Context) ([]string, error) {
	l.quiet++
	return []string{"hubspot", "slack"}, nil
}

func (l *ledger) prune(_ context.Context, _ time.Duration, limit int) (int64, error) {
	n := min(l.old, int64(limit))
	l.old -= n
	l.batches++
	return n, nil
}

// TestSweepPrunesAll: a large fleet writes more lines between two sweeps than one
// statement deletes. Only the full sweeps read every row.
func TestSweepPrunesAll(t *testing.T) {
	t.Parallel()
	l, deliveries := &ledger{old: 123_456}, &ledger{old: 5}
	s := &activities.Sweeper{Store: l, Dispatch: func(context.Context) (int, error) { return 7, nil },
		Prune: []func(context.Context, time.Duration, int) (int64, error){l.prune, deliveries.prune}}
	var suite testsuite.WorkflowTestSuite
	for _, full := range []bool{false, true} {
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(s)
		v, err := env.ExecuteActivity(s.Sweep, activities.SweepRequest{Full: full})
		require.NoError(t, err)
		var out activities.SweepResult
		require.NoError(t, v.Get(&out))
		assert.Equal(t, 7, out.Delivering)
		if full {
			assert.Equal(t, 1, out.Warned)
			assert.Equal(t, 2, out.HoldsEnded)
			assert.Zero(t, out.Pruned)
			continue
		}
		assert.EqualValues(t, 123_461, out.Pruned)
		assert.Zero(t, l.old)
		assert.Zero(t, deliveries.old)
		assert.Zero(t, l.warned+l.quiet)
	}
}
