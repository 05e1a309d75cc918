package workflows

import (
	"maps"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// upserts records the search attributes that a simulated run sets, by name.
func (r *runSimulation) upserts() *[]map[string]string {
	var all []map[string]string
	r.OnUpsertTypedSearchAttributes(mock.Anything).Run(func(args mock.Arguments) {
		one := map[string]string{}
		for key, value := range args.Get(0).(temporal.SearchAttributes).GetUntypedValues() {
			one[key.GetName()] = value.(string)
		}
		all = append(all, one)
	}).Return(nil)
	return &all
}

// TestAttributesAreTheWorkflowsOwn: a run sets the search attributes that the namespace
// has, once, and again when their values change. One that is missing costs only itself,
// and is set once it is there.
func TestAttributesAreTheWorkflowsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.unregistered = map[string]bool{"PerennialTenant": true}
	r := w.newRun(t, Options{RefreshesPerRun: 5})
	all := r.upserts()
	r.RegisterDelayedCallback(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.unregistered = nil
	}, 2*time.Hour)
	r.RegisterDelayedCallback(func() {
		w.set(func(c *perennial.Connection) { c.App = "renamed" })
		r.SignalWorkflow(SignalNudge, nil)
	}, 3*time.Hour)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	assert.Equal(t, []map[string]string{
		{"PerennialStatus": "active", "PerennialProvider": "quickbooks", "PerennialApp": "app"},
		{"PerennialTenant": "t1"},
		{"PerennialApp": "renamed"},
	}, *all)

	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var carried State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	w.now = r.Now().UTC()
	r = w.newRun(t, Options{RefreshesPerRun: 1})
	all = r.upserts()
	r.ExecuteWorkflow(ConnectionWorkflow, carried)
	assert.Empty(t, *all, "the next run knows them")
}

// TestAttributesAfterAnActivity: the result of a regular activity sets nothing; the row is
// read once more at once, in a local activity that may say which attributes there are.
func TestAttributesAfterAnActivity(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{})
	all := r.upserts()
	w.endsWithout = 1 // the local try
	w.revoked = true
	r.RegisterDelayedCallback(r.CancelWorkflow, 2*time.Hour)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.NotEmpty(t, *all)
	assert.Equal(t, map[string]string{"PerennialStatus": "reconnect_required"}, (*all)[len(*all)-1])
}

// TestStartIsAMessage: a first run believes nothing of its state but the connection's id,
// and a run with the id of another connection's workflow does nothing.
func TestStartIsAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	forged := State{ConnectionID: "con_1", Revision: 2, Generation: 1 << 40, Refreshes: -5, Dropped: -7, Next: w.now.Add(1000 * day),
		View:   &activities.View{Status: perennial.StatusPaused, Wait: 1000 * day},
		Recent: make([]RecentRefresh, 1000)}
	r := w.newRun(t, Options{})
	r.RegisterDelayedCallback(func() {
		got := queryStatus(t, r.TestWorkflowEnvironment)
		assert.Equal(t, perennial.StatusActive, got.Status)
		assert.EqualValues(t, 1, got.Generation)
		assert.Empty(t, got.Recent)
		assert.Zero(t, got.Dropped)
	}, time.Minute)
	r.RegisterDelayedCallback(r.CancelWorkflow, 90*time.Minute)
	r.TestWorkflowEnvironment.ExecuteWorkflow(ConnectionWorkflow, forged) // it continues no other
	require.NotEmpty(t, w.refreshedAt)
	assert.WithinDuration(t, w.now.Add(-90*time.Minute), w.refreshedAt[0], time.Hour, "on time")
	assert.EqualValues(t, 1, w.asked[0], "no number of the start became a floor")

	for _, id := range []string{"con_2", "con_1 ", ""} {
		r = newWorld(time.Hour, 0).newRun(t, Options{})
		r.TestWorkflowEnvironment.ExecuteWorkflow(ConnectionWorkflow, State{ConnectionID: id})
		var failed *temporal.ApplicationError
		require.ErrorAs(t, r.GetWorkflowError(), &failed, id)
		assert.True(t, failed.NonRetryable())
		assert.Zero(t, r.w.gets, "no row was read")
	}
}

// TestContinueAsNewSignal: an operator's signal ends the run at once, and changes nothing
// else. A second one does so again.
func TestContinueAsNewSignal(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	state := NewState("con_1")
	for range 2 {
		r := w.newRun(t, Options{})
		began := w.now
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalContinueAsNew, "whatever") }, time.Minute)
		r.RegisterDelayedCallback(r.CancelWorkflow, 20*time.Minute)
		r.ExecuteWorkflow(ConnectionWorkflow, state)
		var next *workflow.ContinueAsNewError
		require.ErrorAs(t, r.GetWorkflowError(), &next)
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &state))
		assert.NotNil(t, state.View)
		w.now = r.Now().UTC()
		assert.LessOrEqual(t, w.now.Sub(began), 2*time.Minute)
	}
	assert.Empty(t, w.refreshedAt)
}

// versions records how workflows are registered.
type versions struct {
	worker.WorkflowRegistry
	of map[string]workflow.VersioningBehavior
}

func (v versions) RegisterWorkflowWithOptions(_ any, o workflow.RegisterOptions) {
	v.of[o.Name] = o.VersioningBehavior
}

// TestVersioning: every workflow may run under worker versioning without further settings.
func TestVersioning(t *testing.T) {
	t.Parallel()
	for set, want := range map[workflow.VersioningBehavior]workflow.VersioningBehavior{
		workflow.VersioningBehaviorUnspecified: workflow.VersioningBehaviorAutoUpgrade,
		workflow.VersioningBehaviorPinned:      workflow.VersioningBehaviorPinned,
	} {
		v := versions{of: map[string]workflow.VersioningBehavior{}}
		Register(v, Options{Versioning: set})
		assert.Len(t, v.of, len(registeredNames))
		for behavior := range maps.Values(v.of) {
			assert.Equal(t, want, behavior)
		}
	}
}
