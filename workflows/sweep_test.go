package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
)

// TestSweepIsTakenOver: a pass that died with its worker delays the next by about the
// length of a pass, at most a minute.
func TestSweepIsTakenOver(t *testing.T) {
	t.Parallel()
	for every, want := range map[time.Duration]time.Duration{
		0: time.Minute, 3 * time.Second: 10 * time.Second, 30 * time.Second: 30 * time.Second, time.Hour: time.Minute,
	} {
		var suite testsuite.WorkflowTestSuite
		suite.SetLogger(quiet{})
		env := suite.NewTestWorkflowEnvironment()
		Register(env, Options{})
		env.RegisterActivityWithOptions(func(context.Context, activities.SweepRequest) (activities.SweepResult, error) {
			return activities.SweepResult{Nudged: 1}, nil
		}, activity.RegisterOptions{Name: "Sweep"})
		var got time.Duration
		env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) { got = info.HeartbeatTimeout })
		env.ExecuteWorkflow(SweepWorkflow, Sweep{Every: every})
		require.NoError(t, env.GetWorkflowError())
		assert.Equal(t, want, got, every)
	}
}
