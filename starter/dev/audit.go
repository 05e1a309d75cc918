package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"
)

// audit counts what happened from three places that know nothing of each other:
// the database, the provider's books and the Temporal histories.
func (s *stack) audit(ctx context.Context, t *story) (*summary, error) {
	connections, now, err := s.connections(ctx)
	if err != nil {
		return nil, err
	}
	oracle := s.provider.Oracle()
	sum := &summary{Connections: len(connections), OracleRefreshes: int64(oracle.Refreshes), ConsumedPresentations: oracle.ConsumedPresentations,
		ReconnectRequired: t.lost, Recovered: t.recovered, WorkerKills: t.kills, Seconds: now.Sub(s.ready).Seconds()}
	for _, c := range connections {
		sum.Refreshes += c.Generation - s.saved.Consents[c.AccountID]
		sum.Generations = append(sum.Generations, c.Generation)
		sum.WorkflowIDs = append(sum.WorkflowIDs, workflows.ID(c.ID))
		seen, first, err := s.historyRefreshes(ctx, workflows.ID(c.ID))
		if err != nil {
			return nil, err
		}
		sum.HistoryRefreshes += seen
		sum.FirstRunIDs = append(sum.FirstRunIDs, first)
		late, err := s.expired(ctx, c, now)
		if err != nil {
			return nil, err
		}
		sum.ExpiredBeforeRefresh += late
	}
	return sum, nil
}

// expired counts the tokens of an active connection that fell due since
// readiness and expired all the same.
func (s *stack) expired(ctx context.Context, c perennial.Connection, now time.Time) (int, error) {
	attempts, err := s.deps.Store.Attempts(ctx, c.ID, 1000)
	if err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	count := 0
	for _, a := range attempts {
		if due := a.StartedAt.Add(-a.Lateness); a.LifeLeft < 0 && due.After(s.ready) {
			count++
		}
	}
	if c.Status == perennial.StatusActive && c.NextRefreshAt.After(s.ready) && c.ExpiresAt.Before(now) {
		count++
	}
	return count, nil
}

// historyRefreshes counts the refreshes that a workflow's histories show, over
// all its runs, and returns the id of its first run.
func (s *stack) historyRefreshes(ctx context.Context, workflowID string) (count int64, first string, err error) {
	desc, err := s.client.DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return 0, "", fmt.Errorf("audit workflow %s: %w", workflowID, err)
	}
	first = desc.WorkflowExecutionInfo.GetFirstRunId()
	for runID := desc.WorkflowExecutionInfo.Execution.RunId; runID != ""; {
		gained, previous, carried, err := s.run(ctx, workflowID, runID)
		if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
			break
		}
		if err != nil {
			return 0, "", fmt.Errorf("audit workflow %s: %w", workflowID, err)
		}
		count += gained
		if runID = previous; runID != "" && !s.exists(ctx, workflowID, runID) {
			return count + carried, first, nil // past the retention: what was carried over counts
		}
	}
	return count, first, nil
}

func (s *stack) exists(ctx context.Context, workflowID, runID string) bool {
	_, err := s.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	return err == nil
}

// run reads one run's history: the refreshes in it, the run before it, and what
// its first event says was counted until then.
func (s *stack) run(ctx context.Context, workflowID, runID string) (gained int64, previous string, carried int64, err error) {
	events := s.client.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	names := map[int64]string{}
	last := int64(-1)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return 0, "", 0, err
		}
		switch e.EventType {
		case enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
			start := e.GetWorkflowExecutionStartedEventAttributes()
			previous = start.ContinuedExecutionRunId
			var state workflows.State
			if err := converter.GetDefaultDataConverter().FromPayloads(start.Input, &state); err != nil {
				return 0, "", 0, err
			}
			carried = state.Refreshes
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			names[e.EventId] = e.GetActivityTaskScheduledEventAttributes().ActivityType.Name
		case enumspb.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
			count, err := refreshCount(e, names)
			if err != nil {
				return 0, "", 0, err
			}
			if last >= 0 && count > last {
				gained += count - last
			}
			last = max(last, count)
		}
	}
	return gained, previous, carried, nil
}

// refreshCount is the row's count of refreshes, as an activity's result has it.
func refreshCount(e *historypb.HistoryEvent, names map[int64]string) (int64, error) {
	done := e.GetActivityTaskCompletedEventAttributes()
	if name := names[done.ScheduledEventId]; name == "Refresh" || name == "PersistSealed" {
		var res activities.RefreshResult
		err := converter.GetDefaultDataConverter().FromPayloads(done.Result, &res)
		return res.View.RefreshCount, err
	}
	var v activities.View
	err := converter.GetDefaultDataConverter().FromPayloads(done.Result, &v)
	return v.RefreshCount, err
}
