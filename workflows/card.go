package workflows

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// show tells people what the row says: the card in every run, and the search
// attributes where they changed.
func (l *life) show(ctx workflow.Context) {
	workflow.SetCurrentDetails(ctx, l.card())
	if l.view.Gone {
		return
	}
	have := workflow.GetTypedSearchAttributes(ctx)
	var updates []temporal.SearchAttributeUpdate
	for _, a := range []struct {
		key   temporal.SearchAttributeKeyKeyword
		value string
	}{
		{AttributeStatus, string(l.view.Status)},
		{AttributeProvider, l.view.Provider},
		{AttributeApp, l.view.App},
		{AttributeTenant, l.view.Tenant},
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

// card is a short Markdown page for ops.
func (l *life) card() string {
	v := l.view
	if v.Gone {
		return "The connection's row is gone; this workflow ends."
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
	line("next look", "%s", l.due.UTC().Format(time.DateTime))
	line("what to do", "%s", advice(v.Status, v.Health))
	if n := len(l.state.SetAside); n > 0 {
		line("set aside", "%d token sets that could not be stored: the worker's log says why; they are tried again before each refresh", n)
	}
	if l.state.Dropped > 0 {
		line("dropped", "%d messages that were no token sets of this connection", l.state.Dropped)
	}
	if len(l.state.Recent) > 0 {
		lines = append(lines, "", "Last outcomes, newest first:", "")
	}
	for _, r := range slices.Backward(l.state.Recent) {
		lines = append(lines, fmt.Sprintf("- %s %s %s generation %d", r.At.Format(time.DateTime), r.Outcome, r.Code, r.Generation))
	}
	return strings.Join(lines, "\n")
}

func advice(s perennial.Status, h perennial.Health) string {
	switch {
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

func (l *life) status() (StatusReply, error) {
	return StatusReply{
		Status:      l.view.Status,
		Reason:      l.view.Reason,
		Health:      l.view.Health,
		FailingCode: l.view.FailingCode,
		Words:       l.view.Words,
		Generation:  l.view.Generation,
		NextLook:    l.due,
		Refreshes:   l.state.Refreshes,
		Recent:      l.state.Recent,
		SetAside:    len(l.state.SetAside),
		Dropped:     l.state.Dropped,
	}, nil
}
