package workflows

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// changeOwnAttributes: before it, the workflow compared the row with the search attributes
// that the server showed. Removing or renaming one changed the commands of a replay.
var changeOwnAttributes = change{"own-attributes", 2}

// show tells people what the row says: it updates the summary in every run, and the
// search attributes when they change. What it set last is in the state, and which ones
// the namespace has is in the view of a local activity.
func (r *run) show(ctx workflow.Context, local bool) {
	workflow.SetCurrentDetails(ctx, r.summary())
	same := maps.Equal(r.view.AttributesOf(), r.state.Shown) //workflowcheck:ignore -- the order does not matter
	if r.view.Gone || same {
		return
	}
	if !r.changed(ctx, changeOwnAttributes) {
		r.showOldWay(ctx)
		return
	}
	r.unshown = !local
	var updates []temporal.SearchAttributeUpdate
	names := slices.Sorted(maps.Keys(r.view.Upsert)) //workflowcheck:ignore -- they are sorted
	for _, name := range names {
		updates = append(updates, temporal.NewSearchAttributeKeyKeyword(name).ValueSet(r.view.Upsert[name]))
	}
	if !local || len(updates) == 0 {
		return
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		workflow.GetLogger(ctx).Error("search attributes not updated", "error", err)
		return
	}
	shown := map[string]string{}
	maps.Copy(shown, r.state.Shown) //workflowcheck:ignore -- the order of a copy does not matter
	maps.Copy(shown, r.view.Upsert) //workflowcheck:ignore -- nor here
	r.state.Shown = shown
}

// forgetMissing handles search attributes that are no longer there. The SDK hands all that
// a run has on to the next one, and the server refuses a run with one that it does not
// know, for ever.
func (r *run) forgetMissing(ctx workflow.Context) {
	if len(r.view.Missing) == 0 {
		return
	}
	shown := map[string]string{}
	maps.Copy(shown, r.state.Shown) //workflowcheck:ignore -- the order of a copy does not matter
	for _, name := range r.view.Missing {
		delete(shown, name)
		//lint:ignore SA1019 the SDK hands these on to the next run, and the typed ones are read-only
		delete(workflow.GetInfo(ctx).SearchAttributes.GetIndexedFields(), name)
	}
	r.state.Shown, r.view.Missing = shown, nil
}

// showOldWay is show in runs from before [changeOwnAttributes].
func (r *run) showOldWay(ctx workflow.Context) {
	have := workflow.GetTypedSearchAttributes(ctx)
	var updates []temporal.SearchAttributeUpdate
	for _, a := range []struct {
		key   temporal.SearchAttributeKeyKeyword
		value string
	}{
		{AttributeStatus, string(r.view.Status)},
		{AttributeProvider, r.view.Provider},
		{AttributeApp, r.view.App},
		{AttributeTenant, r.view.Tenant},
	} {
		if v, ok := have.GetKeyword(a.key); !ok || v != a.value {
			updates = append(updates, a.key.ValueSet(a.value))
		}
	}
	if len(updates) == 0 {
		return
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, updates...); err != nil {
		workflow.GetLogger(ctx).Error("search attributes not updated", "error", err)
	}
}

// summary is a short Markdown page for ops.
func (r *run) summary() string {
	v := r.view
	if v.Gone {
		return "The connection was ended, and its row is gone; this workflow ends."
	}
	lines := []string{"**" + v.Words + "**", "", "| | |", "|---|---|"}
	line := func(name, format string, args ...any) {
		lines = append(lines, "| "+name+" | "+fmt.Sprintf(format, args...)+" |")
	}
	line("status", "%s", v.Status)
	if v.Reason != "" {
		line("reason", "%s", v.Reason)
	}
	if v.Health == perennial.HealthFailing {
		line("failing", "%s, %d in a row", v.FailingCode, v.FailureCount)
	}
	line("generation", "%d", v.Generation)
	if v.RowMissing {
		line("missing", "looked for %d times in a row", r.state.Looks)
	}
	line("next look", "%s", r.due.UTC().Format(time.DateTime))
	line("what to do", "%s", advice(v.Status, v.Health))
	if n := len(r.state.SetAside); n > 0 {
		line("set aside", "%d token sets that could not be stored: the worker's log says why; they are tried again before each refresh", n)
	}
	if r.state.Dropped > 0 {
		line("dropped", "%d messages that were no token sets of this connection", r.state.Dropped)
	}
	if len(r.state.Recent) > 0 {
		lines = append(lines, "", "Last outcomes, newest first:", "")
	}
	for _, r := range slices.Backward(r.state.Recent) {
		text := fmt.Sprintf("- %s %s %s generation %d", r.At.Format(time.DateTime), r.Outcome, r.Code, r.Generation)
		if r.Reported != "" {
			text += fmt.Sprintf(", because a product reported %s", r.Reported)
		}
		lines = append(lines, text)
	}
	return strings.Join(lines, "\n")
}

func advice(s perennial.Status, h perennial.Health) string {
	switch {
	case s == activities.StatusMissing:
		return "Find out why the row is not in the database: does the worker read the right one (`perennial binding`), was it restored, did somebody delete the row? Restore the row, or end the connection as docs/running.md says. Nothing ends by itself."
	case s == perennial.StatusReconnectRequired:
		return "The user must reconnect; nothing is retried."
	case s == perennial.StatusPaused:
		return "`perennial resume` makes it active again; its refresh token is kept alive meanwhile."
	case s == perennial.StatusDisconnected:
		return "Nothing: a new connect revives it."
	case h == perennial.HealthFailing:
		return "Look at the pending activity and the ledger (`perennial show`); it goes on retrying."
	default:
		return "Nothing."
	}
}

func (r *run) status() (StatusReply, error) {
	return StatusReply{
		Status:      r.view.Status,
		Reason:      r.view.Reason,
		Health:      r.view.Health,
		FailingCode: r.view.FailingCode,
		Words:       r.view.Words,
		Generation:  r.view.Generation,
		NextLook:    r.due,
		Refreshes:   r.state.Refreshes,
		Recent:      r.state.Recent,
		SetAside:    len(r.state.SetAside),
		Dropped:     r.state.Dropped,
		Missing:     r.view.RowMissing,
	}, nil
}
