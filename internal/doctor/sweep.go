package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/workflows"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

// runSetup is the advice for most problems of a schedule.
const runSetup = "run `perennial setup`"

// sweepRuns looks at the schedule of the sweep and at its last pass.
func sweepRuns(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	id := workflows.SweepID(p.cfg.TaskQueue)
	found, err := c.ScheduleClient().GetHandle(ctx, id).Describe(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return one(wrong(runSetup+"; without the sweep nothing finds a forgotten connection", "there is no schedule %s", id))
	}
	if err != nil {
		return nil, fmt.Errorf("DescribeSchedule: %w", err)
	}
	every := workflows.Sweep(p.cfg.Sweep).WithDefaults().Every
	if s := found.Schedule.State; s != nil && s.Paused {
		return one(wrong(fmt.Sprintf("run `temporal schedule toggle --unpause --schedule-id %s`", id), "the schedule %s is paused: %q", id, s.Note))
	}
	if differs := otherSettings(p, found.Schedule); differs != "" {
		return one(warning(runSetup, "the schedule %s has %s", id, differs))
	}
	return lastPass(ctx, c, found.Info, every)
}

// otherSettings lists the settings of a schedule that differ from the configuration.
func otherSettings(p *parts, s client.Schedule) string {
	action, ok := s.Action.(*client.ScheduleWorkflowAction)
	if !ok || action.Workflow != workflows.SweepWorkflow {
		return "another action than the sweep"
	}
	if action.TaskQueue != p.cfg.TaskQueue {
		return fmt.Sprintf("task queue %s instead of %s", action.TaskQueue, p.cfg.TaskQueue)
	}
	want := workflows.Sweep(p.cfg.Sweep).WithDefaults()
	if s.Spec == nil || len(s.Spec.Intervals) != 1 || s.Spec.Intervals[0].Every != want.Every {
		return fmt.Sprintf("another interval than the configured %s", want.Every)
	}
	var have workflows.Sweep
	if len(action.Args) != 1 {
		return "other arguments than the sweep's"
	}
	payload, ok := action.Args[0].(*commonpb.Payload)
	of := converter.WorkflowSerializationContext{Namespace: p.namespace, WorkflowID: action.ID}
	if !ok || converter.WithDataConverterSerializationContext(p.converter, of).FromPayload(payload, &have) != nil {
		return "arguments that cannot be read here"
	}
	if have = have.WithDefaults(); have != want {
		return fmt.Sprintf("other settings than the configuration (grace %s, full pass each %s, retention %s)", have.Grace, have.FullEvery, have.Retention)
	}
	return ""
}

// lastPass says when the last pass began and how it ended. A pass may take as long as
// its activity, ten minutes; three missing ones in a row need a person.
func lastPass(ctx context.Context, c client.Client, info client.ScheduleInfo, every time.Duration) ([]Finding, error) {
	patience := 3*every + time.Minute
	if len(info.RecentActions) == 0 {
		if time.Since(info.CreatedAt) > patience {
			return one(wrong("look at the schedule in the Temporal UI", "no pass has begun since the schedule was made at %s", instant(info.CreatedAt)))
		}
		return one(well("made at %s; its first pass comes within %s", instant(info.CreatedAt), every))
	}
	last := info.RecentActions[len(info.RecentActions)-1]
	running := len(info.RunningWorkflows) > 0
	since := time.Since(last.ActualTime)
	switch {
	case since > patience && running:
		return one(wrong("see the lines `workers` and `database`; the pass is in the Temporal UI", "the pass of %s has not ended yet", instant(last.ActualTime)))
	case since > patience:
		return one(wrong("look at the schedule in the Temporal UI", "no pass since %s; one is due each %s", instant(last.ActualTime), every))
	}
	if done := len(info.RecentActions) - 1; running && done > 0 { // the one before has ended
		last = info.RecentActions[done-1]
	}
	if last.StartWorkflowResult != nil {
		run, err := c.DescribeWorkflowExecution(ctx, last.StartWorkflowResult.WorkflowID, last.StartWorkflowResult.FirstExecutionRunID)
		if err != nil {
			return nil, fmt.Errorf("read the last pass: %w", err)
		}
		switch status := run.GetWorkflowExecutionInfo().GetStatus(); status {
		case enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
		default:
			return one(wrong("read its failure in the Temporal UI", "the pass of %s ended as %s", instant(last.ActualTime), status))
		}
	}
	return one(well("a pass each %s, the last at %s", every, instant(last.ActualTime)))
}
