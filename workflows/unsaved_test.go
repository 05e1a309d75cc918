package workflows

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"
)

// TestUnsavedTokensAreStoredFirst: while the workflow holds the only copy of a
// token set, no message, cancellation or request does anything before it is
// stored.
func TestUnsavedTokensAreStoredFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	w.unsaved, w.persistFails = 1, 8 // the test environment gives up after 10
	r := w.newRun(t, Options{})
	due := w.c.NextRefreshAt.Sub(w.now)
	for i, signal := range Signals {
		r.RegisterDelayedCallback(func() { r.SignalWorkflow(signal, nil) }, due+time.Duration(i+1)*10*time.Second)
	}
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, due+90*time.Second)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	assert.Equal(t, 1, w.persisted)
	assert.Zero(t, w.persistFails)
	assert.EqualValues(t, 2, w.c.Generation)
	assert.Equal(t, map[perennial.Trigger]int{perennial.TriggerTimer: 1}, w.triggers, "the token was shown once")
}

// TestCancelledWithUnsavedTokens: a token set that comes together with a cancellation
// is stored before the run ends, whatever the run is at.
func TestCancelledWithUnsavedTokens(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(r *run, both func()){
		"at rest": func(r *run, both func()) { r.RegisterDelayedCallback(both, time.Minute) },
		"beside another message": func(r *run, both func()) {
			r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, nil); both() }, time.Minute)
		},
		"while the row is read for the first time": func(r *run, both func()) { r.w.seen = both },
		"while the row is read after a message": func(r *run, both func()) {
			r.RegisterDelayedCallback(func() { r.w.seen = both; r.SignalWorkflow(SignalNudge, nil) }, time.Minute)
		},
		"while a refresh fails in a local activity": func(r *run, both func()) { r.w.endsWithout, r.w.during = 1, both },
		"while it fails in the activity after it": func(r *run, both func()) {
			r.w.endsWithout, r.w.during = 2, func() { r.w.during = both }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(time.Hour, 0)
			r := w.newRun(t, Options{})
			unsaved := store.SaveRequest{ID: w.c.ID, Generation: w.c.Generation, NewGeneration: w.c.Generation + 1}
			begin(r, func() { r.SignalWorkflow(SignalUnsaved, unsaved); r.CancelWorkflow() })
			r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
			require.True(t, r.IsWorkflowCompleted())
			assert.True(t, temporal.IsCanceledError(r.GetWorkflowError()), r.GetWorkflowError())
			assert.Equal(t, 1, w.persisted)
		})
	}
}
