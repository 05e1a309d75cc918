package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// SweepWorkflow is the registered name of the sweep: one pass over all connections,
// started by a Temporal Schedule.
const SweepWorkflow = "SweepWorkflow"

// Sweep configures the sweep. Zero fields take their defaults.
type Sweep struct {
	Every     time.Duration `json:"every"`     // between two passes. Defaults to 1 min.
	Grace     time.Duration `json:"grace"`     // after its due time, before a row counts as forgotten. Defaults to 30 s.
	FullEvery time.Duration `json:"fullEvery"` // between two passes that read every row. Defaults to 10 min.
	Retention time.Duration `json:"retention"` // of the ledger. Defaults to 90 days.
}

// WithDefaults fills zero fields.
func (s Sweep) WithDefaults() Sweep {
	for _, d := range []struct {
		to  *time.Duration
		def time.Duration
	}{{&s.Every, time.Minute}, {&s.Grace, 30 * time.Second}, {&s.FullEvery, 10 * time.Minute}, {&s.Retention, 90 * 24 * time.Hour}} {
		if *d.to == 0 {
			*d.to = d.def
		}
	}
	return s
}

// sweepHeartbeat returns how long a pass may stay silent before another worker takes
// over. A pass whose worker died, or that reached no worker, keeps the next one from
// starting.
func sweepHeartbeat(every time.Duration) time.Duration {
	return min(max(every, 10*time.Second), time.Minute)
}

// sweeper is nil on purpose: it only gives the activity its name.
var sweeper *activities.Sweeper

// request returns the request for the pass that begins at now. The first pass of each
// FullEvery reads every row.
func (s Sweep) request(now time.Time) activities.SweepRequest {
	first := !now.Truncate(s.FullEvery).Equal(now.Add(-s.Every).Truncate(s.FullEvery))
	return activities.SweepRequest{Grace: s.Grace, Full: first, Retention: s.Retention}
}

// sweep makes one pass.
func sweep(ctx workflow.Context, s Sweep) (activities.SweepResult, error) {
	s = s.WithDefaults()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 10 * time.Minute,
		HeartbeatTimeout:    sweepHeartbeat(s.Every),
		RetryPolicy:         &temporal.RetryPolicy{MaximumAttempts: 3}, // the next pass is soon
		Summary:             "find connections that nobody looks after",
	})
	var out activities.SweepResult
	err := workflow.ExecuteActivity(ctx, sweeper.Sweep, s.request(workflow.Now(ctx))).Get(ctx, &out)
	return out, err
}

// SweepID returns the id of the sweep's Schedule and of its workflows. It includes the
// task queue, because one namespace may serve several fleets.
func SweepID(taskQueue string) string { return "perennial/" + taskQueue + "/sweep" }

// SetupSweep creates the sweep's Schedule, or gives an existing one these settings. It
// reports whether it created one. It may be repeated.
func SetupSweep(ctx context.Context, c client.Client, taskQueue string, s Sweep) (made bool, err error) {
	s = s.WithDefaults()
	spec := client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: s.Every}}}
	action := &client.ScheduleWorkflowAction{ID: SweepID(taskQueue), Workflow: SweepWorkflow, Args: []any{s}, TaskQueue: taskQueue,
		WorkflowExecutionTimeout: 15 * time.Minute}
	_, err = c.ScheduleClient().Create(ctx, client.ScheduleOptions{ID: SweepID(taskQueue), Spec: spec, Action: action,
		Overlap: enumspb.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: time.Minute,
		Note: "nudges the connections that nobody looks after"})
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return false, fmt.Errorf("make the sweep's schedule: %w", err)
	}
	err = c.ScheduleClient().GetHandle(ctx, SweepID(taskQueue)).Update(ctx, client.ScheduleUpdateOptions{
		DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
			schedule := in.Description.Schedule
			schedule.Spec, schedule.Action = &spec, action
			return &client.ScheduleUpdate{Schedule: &schedule}, nil
		}})
	if err != nil {
		return false, fmt.Errorf("update the sweep's schedule: %w", err)
	}
	return false, nil
}
