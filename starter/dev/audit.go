package dev

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
)

// audit counts what happened, from three independent sources: the database, the
// provider's books and the Temporal histories.
func (s *stack) audit(ctx context.Context, t *story) (*summary, error) {
	connections, now, err := s.connections(ctx)
	if err != nil {
		return nil, err
	}
	sum := t.summary(s.provider.Oracle(), now)
	for _, c := range connections {
		sum.add(c)
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

// summary returns what the story itself and the provider's books know.
func (t *story) summary(o fakeprovider.Oracle, now time.Time) *summary {
	return &summary{OracleRefreshes: int64(o.Refreshes), ConsumedPresentations: o.ConsumedPresentations,
		ReconnectRequired: t.lost, Recovered: t.recovered, WorkerKills: t.kills, Seconds: now.Sub(t.ready).Seconds()}
}

// add counts what the row of one more connection says.
func (s *summary) add(c perennial.Connection) {
	s.Connections++
	s.Refreshes += c.RefreshCount
	s.Generations = append(s.Generations, c.Generation)
	s.WorkflowIDs = append(s.WorkflowIDs, workflows.ID(c.ID))
}

// expired counts the access tokens of an active connection that fell due after
// readiness and expired before their refresh.
func (s *stack) expired(ctx context.Context, c perennial.Connection, now time.Time) (int, error) {
	attempts, err := s.deps.Store.Attempts(ctx, perennial.CommandLineAccess(), c.ID, 1000)
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

// historyRefreshes counts the refreshes in a workflow's histories, over all its runs,
// and returns the id of its first run.
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
			return count + carried, first, nil // the run before is past the retention: use the count that it carried over
		}
	}
	return count, first, nil
}

func (s *stack) exists(ctx context.Context, workflowID, runID string) bool {
	_, err := s.client.DescribeWorkflowExecution(ctx, workflowID, runID)
	return err == nil
}

// run reads one run's history: the refreshes in it, the id of the previous run, and the
// count that its first event carries over.
func (s *stack) run(ctx context.Context, workflowID, runID string) (gained int64, previous string, carried int64, err error) {
	events := s.client.GetWorkflowHistory(ctx, workflowID, runID, false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	last := int64(-1)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			return 0, "", 0, err
		}
		if start := e.GetWorkflowExecutionStartedEventAttributes(); start != nil {
			previous = start.ContinuedExecutionRunId
			var state workflows.State
			if err := s.converter.FromPayloads(start.Input, &state); err != nil {
				return 0, "", 0, err
			}
			carried = state.Refreshes
			if state.View != nil {
				last = state.View.RefreshCount
			}
			continue
		}
		count, found, err := s.refreshCount(e)
		if err != nil {
			return 0, "", 0, err
		}
		if found && last >= 0 && count > last {
			gained += count - last
		}
		last = max(last, count)
	}
	return gained, previous, carried, nil
}

// refreshCount returns the row's count of refreshes if an event is the result of an
// activity or local activity that read the row, by itself or after a refresh.
func (s *stack) refreshCount(e *historypb.HistoryEvent) (count int64, found bool, err error) {
	result := e.GetActivityTaskCompletedEventAttributes().GetResult()
	if result == nil {
		result = e.GetMarkerRecordedEventAttributes().GetDetails()["result"]
	}
	if result == nil {
		return -1, false, nil
	}
	var look struct {
		activities.View
		After *activities.View `json:"view"`
	}
	err = s.converter.FromPayloads(result, &look)
	if look.After != nil {
		return look.After.RefreshCount, true, err
	}
	return look.RefreshCount, true, err
}
