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

// explained is of how many connections a break's circumstances are printed.
const explained = 5

// explain prints, of a connection that broke something, how its workflow
// stands: what it waits for, the end of its history and the last answer that
// somebody who asked it for a refresh was given.
func (r *round) explain(c *conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	id := workflows.ID(c.id)
	c.mu.Lock()
	lines := []string{fmt.Sprintf("%s is %s; asked for a refresh, it said %s", c.account, id, c.said)}
	c.mu.Unlock()
	if d, err := r.client.DescribeWorkflowExecution(ctx, id, ""); err != nil {
		lines = append(lines, "  "+err.Error())
	} else {
		lines = append(lines, fmt.Sprintf("  %s, %d pending activities, pending task %v", d.GetWorkflowExecutionInfo().GetStatus(), len(d.GetPendingActivities()), d.GetPendingWorkflowTask()))
	}
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

// keepBooks writes beside the logs who is who, and what the provider has seen.
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
