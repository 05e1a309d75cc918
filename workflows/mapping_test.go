package workflows

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStatusIsWhole: the query shows everything that the run knows.
func TestStatusIsWhole(t *testing.T) {
	t.Parallel()
	r := &run{view: fill.Of[activities.View](), state: fill.Of[State](), due: time.Now()}
	got, err := r.status()
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(got))
}

// TestRecentIsWhole: a line about a refresh says which generation it brought.
func TestRecentIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{})
	var got StatusReply
	r.RegisterDelayedCallback(func() {
		v, err := r.QueryWorkflow(QueryStatus)
		require.NoError(t, err)
		require.NoError(t, v.Get(&got))
		r.CancelWorkflow()
	}, 45*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.Len(t, got.Recent, 1)
	assert.Equal(t, []string{"Code"}, fill.Zeros(got.Recent[0]), "nothing went wrong")
	assert.EqualValues(t, 2, got.Recent[0].Generation)
}

// TestSummariesJoin: each summary begins where the one before it ended, also in a run that
// continues another.
func TestSummariesJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.pacers, w.paced = 1, true
	r := w.newRun(t, Options{})
	state := NewState("con_1")
	state.Digested = w.now.Add(-3 * time.Hour)
	r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, nil) }, 2*time.Hour)
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 3*time.Hour)
	from := []time.Time{state.Digested, w.now}
	r.ExecuteWorkflow(ConnectionWorkflow, state)
	require.GreaterOrEqual(t, len(w.summarized), 2)
	for i, at := range from {
		assert.WithinDuration(t, at, w.summarized[i], time.Minute)
	}
}

// TestRequestsAreWhole: a request for newer tokens names the generation that there is.
func TestRequestsAreWhole(t *testing.T) {
	t.Parallel()
	assert.Empty(t, fill.Zeros(NewerThan(fill.Of[perennial.Connection]())))
}
