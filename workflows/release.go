package workflows

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// ReleaseWorkflow is the registered name of the workflow that released an app's waiting
// connections before [AppWorkflow] did. Programs of before start it: drop it in the release
// after the next.
const ReleaseWorkflow = "LetGoWorkflow"

// release wakes the connections in one activity, which ends after an hour at most. The
// sweep finds those that still sleep then.
func release(ctx workflow.Context, app string) (out activities.ReleaseResult, err error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		ScheduleToCloseTimeout: time.Hour,
		StartToCloseTimeout:    time.Hour,
		HeartbeatTimeout:       30 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{MaximumInterval: 10 * time.Second},
		Summary:                app,
	})
	err = workflow.ExecuteActivity(ctx, activities.ReleaseActivity, app).Get(ctx, &out)
	return out, err
}

// ReleaseID returns the id of an app's release workflow.
func ReleaseID(taskQueue, app string) string {
	return fmt.Sprintf("perennial/%s/let-go/%s", taskQueue, app)
}
