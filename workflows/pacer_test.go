package workflows

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

func pacerRun(t *testing.T) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(quiet{})
	env := suite.NewTestWorkflowEnvironment()
	Register(env, Options{})
	env.RegisterActivity(&activities.Pacer{})
	return env
}

// TestPacerGoesOn: each activity gets the beat that the previous one saw, and the run
// continues as new with its whole state.
func TestPacerGoesOn(t *testing.T) {
	t.Parallel()
	env := pacerRun(t)
	beat := int64(0)
	env.OnActivity(pacerActs.Pace, mock.Anything, mock.Anything).Return(func(_ context.Context, req activities.PaceRequest) (activities.PaceResult, error) {
		if req.Beat != beat {
			return activities.PaceResult{}, errors.New("the beat was lost")
		}
		beat++
		return activities.PaceResult{Beat: beat, Refreshed: 10, HandedOver: 1}, nil
	})
	env.ExecuteWorkflow(PacerWorkflow, PacerState{App: "app", N: 1, Of: 2})
	var next *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var s PacerState
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &s))
	assert.Equal(t, PacerState{App: "app", N: 1, Of: 2, Beat: pacesPerRun, Refreshed: 10 * pacesPerRun, HandedOver: pacesPerRun}, s)
}

func TestPacerEnds(t *testing.T) {
	t.Parallel()
	env := pacerRun(t)
	env.OnActivity(pacerActs.Pace, mock.Anything, mock.Anything).Return(activities.PaceResult{Done: true}, nil).Once()
	env.ExecuteWorkflow(PacerWorkflow, PacerState{App: "app", Of: 1})
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
}

// TestPooledYear: a connection that pacers refresh wakes once a day, for a digest. If
// it is nudged because they are late, it refreshes itself.
func TestPooledYear(t *testing.T) {
	t.Parallel()
	w := newWorld(365*day, 0) // as if pacers had refreshed it: it never becomes due
	w.pacers = 2
	w.c.NextRefreshAt = w.now.Add(23 * time.Hour)
	r := w.newRun(t, Options{})
	for d := range 30 { // the pacers' work
		r.RegisterDelayedCallback(func() {
			w.set(func(c *perennial.Connection) {
				c.RefreshCount++
				c.Generation++
				c.LastRefreshedAt = r.Now()
				c.NextRefreshAt = r.Now().Add(23 * time.Hour)
			})
		}, time.Duration(d)*12*time.Hour)
	}
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 15*day)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	assert.Empty(t, w.asked, "its own workflow refreshes nothing")
	assert.LessOrEqual(t, w.gets, 17, "a look a day")
	assert.GreaterOrEqual(t, w.gets, 15)

	w = newWorld(time.Hour, 0)
	w.pacers = 2
	r = w.newRun(t, Options{})
	due := w.c.NextRefreshAt.Sub(w.now)
	r.RegisterDelayedCallback(func() { r.SignalWorkflow(SignalNudge, nil) }, due+30*time.Second)
	r.RegisterDelayedCallback(func() { r.CancelWorkflow() }, 2*time.Hour)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	assert.Len(t, w.refreshedAt, 1, "no pacer came")
	assert.Empty(t, w.problems)
}
