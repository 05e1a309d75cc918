package workflows

import (
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// TestSetTooLarge: a set that is larger than any of ours is dropped and counted. It may
// be too large for an activity's input, which would end the workflow.
func TestSetTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{RefreshesPerRun: 1})
	r.RegisterDelayedCallback(func() {
		r.SignalWorkflow(SignalUnsaved, store.SaveRequest{ID: "con_1", NewGeneration: 2, AttemptID: strings.Repeat("<", 300<<10)}) // 1.8 MiB in JSON
	}, time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, r.GetWorkflowError(), &next)
	var carried State
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
	assert.EqualValues(t, 1, carried.Dropped)
	assert.Empty(t, w.given, "no activity has seen it")
}

// TestStartSaysTooMuch: a start's values of search attributes that the workflow cannot
// have set is forgotten, and does not reach the next run.
func TestStartSaysTooMuch(t *testing.T) {
	t.Parallel()
	for name, shown := range map[string]map[string]string{
		"too long":   {activities.AttributeTenant: strings.Repeat("<", 300<<10)},
		"not ours":   {"Hostile": "x"},
		"one of all": {activities.AttributeStatus: "active", "": ""},
	} {
		state := NewState("con_1")
		state.Shown = shown
		r := newWorld(time.Hour, 0).newRun(t, Options{RefreshesPerRun: 1})
		r.ExecuteWorkflow(ConnectionWorkflow, state)
		var next *workflow.ContinueAsNewError
		require.ErrorAs(t, r.GetWorkflowError(), &next, name)
		var carried State
		require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &carried))
		assert.True(t, plausible(carried.Shown), name)
	}
	assert.True(t, plausible(activities.ShownOf(newWorld(time.Hour, 0).c)))
}
