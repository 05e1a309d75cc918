package workflows

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"
)

// troubleRun runs an app's workflow. looks gives what each look sees.
func troubleRun(t *testing.T, looks func(n int) (activities.AppView, error)) (env *testsuite.TestWorkflowEnvironment, n *int) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env = suite.NewTestWorkflowEnvironment()
	n = new(int)
	env.RegisterWorkflowWithOptions(appTrouble, workflow.RegisterOptions{Name: AppWorkflow})
	env.RegisterActivityWithOptions(func(_ context.Context, app string) (activities.AppView, error) {
		if app != "crm" {
			return activities.AppView{}, errors.New("another app")
		}
		*n++
		return looks(*n)
	}, activity.RegisterOptions{Name: "LookAfterApp"})
	return env, n
}

func open(head string) activities.AppView {
	return activities.AppView{Heads: []string{head}, Lines: []string{"next probe soon"}, Wait: 30 * time.Second, Next: "probe"}
}

// TestAppWorkflowEnds: it looks when the database says, goes on while the database is
// away, and ends once the app has been well for an hour, counted anew after more trouble.
func TestAppWorkflowEnds(t *testing.T) {
	t.Parallel()
	env, n := troubleRun(t, func(n int) (activities.AppView, error) {
		switch {
		case n == 2:
			return activities.AppView{}, errors.New("the database is away")
		case n <= 3 || n == 40:
			return open("circuit open"), nil
		}
		return activities.AppView{Well: true, Wait: time.Minute}, nil
	})
	began := env.Now()
	env.ExecuteWorkflow(AppWorkflow, AppTrouble{App: "crm"})
	require.NoError(t, env.GetWorkflowError())
	assert.Equal(t, 40+1+60, *n)
	assert.InDelta(t, (30 + 10 + 30 + 36*60 + 30 + 3600), env.Now().Sub(began).Seconds(), 5)
}

// TestAppWorkflowContinues: a long trouble continues as new, and takes its story along. A
// first run has none, with any start.
func TestAppWorkflowContinues(t *testing.T) {
	t.Parallel()
	env, n := troubleRun(t, func(n int) (activities.AppView, error) { return open(fmt.Sprintf("circuit %d", n)), nil })
	env.ExecuteWorkflow(AppWorkflow, AppTrouble{App: "crm", Story: []string{"forged"}, WellSince: time.Unix(1, 0)})
	var again *workflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &again)
	assert.Equal(t, looksPerRun, *n)
	var s AppTrouble
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(again.Input, &s))
	assert.Equal(t, "crm", s.App)
	assert.True(t, s.WellSince.IsZero())
	require.Len(t, s.Story, storyKept)
	assert.Contains(t, s.Story[storyKept-1], "over: circuit 199")
	assert.NotContains(t, strings.Join(s.Story, "\n"), "forged")

	env, n = troubleRun(t, func(int) (activities.AppView, error) { return activities.AppView{Well: true, Wait: time.Minute}, nil })
	env.SetContinuedExecutionRunID("before")
	env.ExecuteWorkflow(AppWorkflow, AppTrouble{App: "crm", WellSince: env.Now().Add(-wellFor + 90*time.Second)})
	require.NoError(t, env.GetWorkflowError())
	assert.Equal(t, 3, *n, "it remembers since when the app is well")
}

// TestAppWorkflowRefusesNoName: a start without an app's name fails at once.
func TestAppWorkflowRefusesNoName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", strings.Repeat("x", longestName+1)} {
		env, n := troubleRun(t, nil)
		env.ExecuteWorkflow(AppWorkflow, AppTrouble{App: name})
		require.Error(t, env.GetWorkflowError())
		assert.Zero(t, *n)
	}
}

// TestAppDetails: the page in the Temporal UI has the troubles, the failed steps, and the
// story, newest first.
func TestAppDetails(t *testing.T) {
	t.Parallel()
	s := AppTrouble{App: "crm"}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s.take(open("circuit open"), now)
	v := open("releasing")
	v.Problem = "no signal"
	s.take(v, now.Add(time.Minute))
	s.take(v, now.Add(2*time.Minute))
	said := s.details(v, true, now.Add(time.Hour))
	for _, want := range []string{"**crm**", "- **releasing**", "- next probe soon", "not done: no signal", "next look 2026-05-01 13:00:00"} {
		assert.Contains(t, said, want)
	}
	assert.Equal(t, []string{"2026-05-01 12:00:00 circuit open", "2026-05-01 12:01:00 releasing", "2026-05-01 12:01:00 over: circuit open"}, s.Story)
	assert.Less(t, strings.Index(said, "over: circuit open"), strings.Index(said, "12:00:00 circuit open"))
	assert.Contains(t, s.details(v, false, now), "the database does not answer")
}
