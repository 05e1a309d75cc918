package doctor

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/workflows"
)

const (
	// counted is up to how many rows a check counts.
	counted = 100
	// ledgerLines is how many lines of the ledger tell which apps are being refreshed.
	ledgerLines = 200
)

// overdue finds active connections that two passes of the sweep have missed. A
// connection that waits for its app's circuit, limit or slow-down is not among them.
func overdue(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	sweep := workflows.Sweep(p.cfg.Sweep).WithDefaults()
	grace := sweep.Grace + 2*sweep.Every
	late, err := rows.Overdue(ctx, grace, counted)
	if err != nil {
		return nil, err
	}
	refreshed, err := rows.RefreshedLately(ctx, ledgerLines)
	if err != nil {
		return nil, err
	}
	var passed, waiting, none []perennial.Connection
	for _, c := range late {
		switch {
		case !c.QueuedAt.IsZero(): // a backlog is not neglect
			waiting = append(waiting, c)
		case refreshed[c.App].After(due(c).Add(grace)):
			passed = append(passed, c)
		default:
			none = append(none, c)
		}
	}
	var out []Finding
	if len(passed) > 0 {
		out = append(out, wrong("see the lines `workflows`, `sweep` and `workers`; one of them at once by `perennial refresh ID`",
			"passed over, while others of their app were refreshed: %s connections, due for longer than %s, the first since %s: %s", number(passed), grace, instant(oldest(passed)), some(ids(passed))))
	}
	if len(none) > 0 {
		out = append(out, wrong("see the lines `workers`, `sweep` and `temporal`: nothing of their app is being refreshed",
			"connections due for longer than %s: %s, the first since %s: %s", grace, number(none), instant(oldest(none)), some(ids(none))))
	}
	if len(waiting) > 0 {
		out = append(out, warning("see the line `apps`; a limit (max_refreshes_per_second) may be too low", "connections due and waiting for their app's limit: %s, the first since %s", number(waiting), instant(oldest(waiting))))
	}
	if len(out) == 0 {
		out = append(out, well("none is due for longer than %s", grace))
	}
	return out, nil
}

func number(cs []perennial.Connection) string { return atMost(int64(len(cs)), counted) }

// due is when a connection could have been refreshed.
func due(c perennial.Connection) time.Time {
	if c.NextAttemptAt.After(c.NextRefreshAt) {
		return c.NextAttemptAt
	}
	return c.NextRefreshAt
}

func oldest(cs []perennial.Connection) time.Time {
	at := due(cs[0])
	for _, c := range cs {
		if due(c).Before(at) {
			at = due(c)
		}
	}
	return at
}

// inDoubt reads the connections that are due or failing, where lost attempts and unclear
// replies are, and those that were refused once.
func inDoubt(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	sweep := workflows.Sweep(p.cfg.Sweep).WithDefaults()
	now, err := rows.Now(ctx)
	if err != nil {
		return nil, err
	}
	due, err := rows.Overdue(ctx, 0, counted)
	if err != nil {
		return nil, err
	}
	failing, err := rows.FailingSample(ctx, counted)
	if err != nil {
		return nil, err
	}
	suspects, err := rows.Suspects(ctx, sweep.Grace+sweep.FullEvery, counted)
	if err != nil {
		return nil, err
	}
	lost, ambiguous := map[string]bool{}, map[string]bool{}
	for _, c := range append(due, failing...) {
		if c.Open.ID != "" && now.Sub(c.Open.Deadline) > sweep.Grace+2*sweep.Every {
			lost[c.ID] = true
		}
		if c.Ambiguous() {
			ambiguous[c.ID] = true
		}
	}
	var out []Finding
	if len(lost) > 0 {
		out = append(out, wrong("see the lines `workers` and `sweep`: a worker closes them", "attempts that are open long after their deadline: %s", some(keysOf(lost))))
	}
	if len(suspects) > 0 {
		out = append(out, wrong("see the lines `workers` and `sweep`", "connections refused once and not confirmed in time: %s: %s", number(suspects), some(ids(suspects))))
	}
	if len(ambiguous) > 0 {
		out = append(out, warning("nothing, unless there are more each day: `perennial show ID` has the attempts", "refresh tokens that may be spent, because a reply never came: %s", some(keysOf(ambiguous))))
	}
	if len(out) == 0 {
		out = append(out, well("no lost attempt, no late refusal, no ambiguous token among %d due and %d failing connections", len(due), len(failing)))
	}
	return out, nil
}

func keysOf(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}
