package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh/timing"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// PacerWorkflow is the registered name of a pacer: it refreshes the healthy connections
// of one shard of a pooled app in bulk.
const PacerWorkflow = "PacerWorkflow"

// PacerState is everything that a pacer carries over continue-as-new.
type PacerState struct {
	App string `json:"app"`
	N   int    `json:"n"`
	Of  int    `json:"of"`
	// Beat is the highest one seen in the database. A lower one later shows that the
	// database went backwards.
	Beat       int64  `json:"beat,omitempty"`
	After      string `json:"after,omitempty"` // the last connection handed over, while the pacer retires
	Refreshed  int64  `json:"refreshed,omitempty"`
	HandedOver int64  `json:"handed_over,omitempty"`
}

// request returns the request for the next activity.
func (s PacerState) request(paceFor time.Duration) activities.PaceRequest {
	return activities.PaceRequest{App: s.App, N: s.N, Of: s.Of, For: paceFor, Beat: s.Beat, After: s.After}
}

// pacesPerRun bounds the history of one run: eight hours, at a minute for each
// activity.
const pacesPerRun = 480

// paceHeartbeat returns how long an activity may stay silent before another worker
// takes over.
func paceHeartbeat(paceFor time.Duration) time.Duration {
	return min(max(paceFor/2, 5*time.Second), 30*time.Second)
}

// pacerActs is nil on purpose: it only gives the activity its name.
var pacerActs *activities.Pacer

// pacer returns the workflow that runs one Pace activity after another, on any worker
// with a free slot. Each activity is short, so that pacers spread over all workers again
// when a stopped worker comes back. The workflow ends when the app no longer has this
// many pacers; the sweep starts the new ones.
func pacer(o Options) func(workflow.Context, PacerState) error {
	return func(ctx workflow.Context, s PacerState) error { return pace(ctx, s, o.Timing) }
}

func pace(ctx workflow.Context, s PacerState, t timing.Config) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: t.PaceFor + t.WorkerStop,
		HeartbeatTimeout:    paceHeartbeat(t.PaceFor),
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 10 * time.Second},
		Summary:             fmt.Sprintf("%s, shard %d of %d", s.App, s.N+1, s.Of),
	})
	for range pacesPerRun {
		workflow.SetCurrentDetails(ctx, fmt.Sprintf("**%s**, shard %d of %d\n\n%d refreshed, %d handed to their own workflows", s.App, s.N+1, s.Of, s.Refreshed, s.HandedOver))
		var out activities.PaceResult
		err := workflow.ExecuteActivity(ctx, pacerActs.Pace, s.request(t.PaceFor)).Get(ctx, &out)
		if err != nil {
			return fmt.Errorf("pace app %s: %w", s.App, err)
		}
		s.Beat, s.After = max(s.Beat, out.Beat), out.After
		s.Refreshed, s.HandedOver = s.Refreshed+out.Refreshed, s.HandedOver+out.HandedOver
		if out.Done {
			return nil
		}
	}
	return workflow.NewContinueAsNewError(ctx, PacerWorkflow, s)
}

// PacerID returns the id of a pacer's workflow. It includes the number of shards;
// pacers with another number end by themselves.
func PacerID(taskQueue, app string, n, of int) string {
	return fmt.Sprintf("perennial/%s/pacer/%s/%d-of-%d", taskQueue, app, n+1, of)
}

// StartPacers starts the pacers of a pooled app that are not running. Any process may
// call it, repeatedly.
func StartPacers(ctx context.Context, c client.Client, taskQueue, app string, of int) error {
	var errs []error
	for n := range of {
		_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
			ID: PacerID(taskQueue, app, n, of), TaskQueue: taskQueue,
			WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
			WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		}, PacerWorkflow, PacerState{App: app, N: n, Of: of})
		if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); err != nil && !running {
			errs = append(errs, fmt.Errorf("start pacer %d of app %s: %w", n+1, app, err))
		}
	}
	return errors.Join(errs...)
}
