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
	assert.Empty(t, fill.Zeros(r.reply(perennial.OutcomeRefreshed, "code")), "nor does an answer hide anything")
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
	assert.Equal(t, []string{"Code", "Reported"}, fill.Zeros(got.Recent[0]), "nothing went wrong, and nobody reported anything")
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

// TestRequestsAreWhole: a workflow passes its whole knowledge to an activity, and a caller
// its own to a workflow. Only a local activity asks for search attributes.
func TestRequestsAreWhole(t *testing.T) {
	t.Parallel()
	r := &run{view: fill.Of[activities.View](), state: fill.Of[State](), local: true}
	assert.Equal(t, []string{"Shown"}, fill.Zeros(r.loadRequest()))
	assert.Equal(t, []string{"Shown"}, fill.Zeros(r.complete(activities.RefreshRequest{Trigger: perennial.TriggerTimer, Once: true})))
	assert.Empty(t, fill.Zeros(r.knows()))
	assert.Empty(t, fill.Zeros(fill.Of[PacerState]().request(time.Minute)))
	assert.Empty(t, fill.Zeros(Sweep{}.WithDefaults().request(time.Now().Truncate(time.Hour))))
	assert.Equal(t, []string{"Why"}, fill.Zeros(NewerThan(fill.Of[perennial.Connection]())), "it reports nothing")
}

// TestViewsAreWhole: a run takes over, and shows, all that a view says.
func TestViewsAreWhole(t *testing.T) {
	t.Parallel()
	v, now := fill.Of[activities.View](), time.Now()
	v.Gone = false
	r := &run{}
	r.learn(v, now)
	assert.Equal(t, v, r.view)
	assert.Equal(t, v.Summary.To, r.state.Digested)
	assert.Equal(t, v.Generation, r.state.Generation)
	assert.Equal(t, now.Add(v.Wait), r.due)
	v.Generation--
	r.learn(v, now)
	assert.Equal(t, v.Generation+1, r.state.Generation, "the row is behind by one")
	v.Generation = 2 * perennial.MaxGenerationGap
	r.learn(v, now)
	v.Generation--
	r.learn(v, now)
	assert.EqualValues(t, 2*perennial.MaxGenerationGap, r.state.Generation, "also far from the first one")
	assert.Equal(t, []string{"HTTPStatus", "Recovered", "Reported", "Again", "RetryAt", "Unsaved"}, fill.Zeros(r.notStored()))
	assert.Empty(t, fill.Zeros(recent(now, fill.Of[activities.RefreshResult]())))
}
