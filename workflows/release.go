package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// ReleaseWorkflow is the registered name of the workflow that wakes an app's waiting
// connections once its circuit has closed.
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

// StartRelease starts the release of an app's connections, unless it is running. Any
// process may call it, repeatedly.
func StartRelease(ctx context.Context, c client.Client, taskQueue, app string) error {
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: ReleaseID(taskQueue, app), TaskQueue: taskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}, ReleaseWorkflow, app)
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); err != nil && !running {
		return fmt.Errorf("release the waiting connections of app %s: %w", app, err)
	}
	return nil
}
