package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
)

// explained is for how many broken connections explain prints the circumstances.
const explained = 5

// explain prints the state of a broken connection's workflow: what it waits for, the
// end of its history, and the last reply to a request for a refresh.
func (r *round) explain(c *conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := workflows.ID(c.id)
	c.mu.Lock()
	lines := []string{fmt.Sprintf("%s is %s; asked for a refresh, it said %s", c.account, id, c.said), r.described(ctx, id)}
	c.mu.Unlock()
	var events []string
	for history := r.client.GetWorkflowHistory(ctx, id, "", false, enumspb.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); history.HasNext(); {
		e, err := history.Next()
		if err != nil {
			events = append(events, err.Error())
			break
		}
		events = append(events, fmt.Sprintf("%s %d %s", e.GetEventTime().AsTime().Format("15:04:05.000"), e.GetEventId(), e.GetEventType()))
	}
	for _, e := range events[max(0, len(events)-16):] {
		lines = append(lines, "    "+e)
	}
	r.say("%s", strings.Join(lines, "\n          "))
}

// stateOf describes a connection's row and its waits.
func (r *round) stateOf(c *conn) string {
	row, now := r.get(c), time.Now()
	text := fmt.Sprintf("%s %s %s, generation %d", row.Status, row.Health, row.FailingCode, row.Generation)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"next attempt", row.NextAttemptAt}, {"own wait", row.BackoffUntil}, {"confirmation", row.ConfirmAt}, {"queued", row.QueuedAt},
		{"suspect", row.SuspectSince}, {"ambiguous", row.AmbiguousSince}, {"expiry", row.ExpiresAt}, {"attempt until", row.Open.Deadline}} {
		if !t.at.IsZero() {
			text += fmt.Sprintf(", %s %+.1f s", t.name, t.at.Sub(now).Seconds())
		}
	}
	return text
}

// explainSweep prints the state of the sweep, which mends what no workflow looks after.
func (r *round) explainSweep() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d, err := r.client.ScheduleClient().GetHandle(ctx, workflows.SweepID(r.deps.Config.TaskQueue)).Describe(ctx)
	if err != nil {
		r.say("the sweep: %v", err)
		return
	}
	lines := []string{fmt.Sprintf("the sweep ran %d times, %d were skipped for one that still ran", d.Info.NumActions, d.Info.NumActionsSkippedOverlap)}
	for _, a := range d.Info.RecentActions {
		lines = append(lines, "    "+a.ActualTime.Format("15:04:05.000"))
	}
	for _, w := range d.Info.RunningWorkflows {
		lines = append(lines, w.WorkflowID, r.described(ctx, w.WorkflowID))
	}
	r.say("%s", strings.Join(lines, "\n          "))
}

// described returns what Temporal says of a running workflow.
func (r *round) described(ctx context.Context, id string) string {
	d, err := r.client.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return "  " + err.Error()
	}
	return fmt.Sprintf("  %s, pending activities %v, pending task %v", d.GetWorkflowExecutionInfo().GetStatus(), d.GetPendingActivities(), d.GetPendingWorkflowTask())
}

// keepBooks writes a list of all connections, and the provider's books, beside the
// logs.
func (r *round) keepBooks() error {
	ids := map[string]string{}
	for _, c := range r.all {
		ids[c.account] = c.id
	}
	raw, err := json.Marshal(map[string]any{"connections": ids, "oracle": r.provider.Oracle()})
	if err != nil {
		return err
	}
	return os.WriteFile(r.file("books.json"), raw, 0o600)
}
