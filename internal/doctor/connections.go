package doctor

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

const (
	// counted is up to how many rows a check counts.
	counted = 100
	// ledgerLines is how many of the newest lines of the ledger are read.
	ledgerLines = 5000
	// besideLately is how far back a refresh beside Temporal is shown.
	besideLately = time.Hour
)

// overdue finds the neglected connections, by the rule by which workers refresh them beside
// Temporal ([store.Neglected]), and those that wait in a backlog.
func overdue(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	sweep := workflows.Sweep(p.cfg.Sweep).WithDefaults()
	grace := sweep.Grace + 2*sweep.Every
	neglected, err := rows.Neglected(ctx, store.NeglectedRequest{Patience: 2 * sweep.Every, Limit: counted})
	if err != nil {
		return nil, err
	}
	late, err := rows.Overdue(ctx, grace, counted)
	if err != nil {
		return nil, err
	}
	beside, err := rows.RefreshedBeside(ctx, besideLately, ledgerLines)
	if err != nil {
		return nil, err
	}
	var out []Finding
	if neglected.Found > 0 {
		out = append(out, wrong(neglectAdvice, "neglected: %d connections, late and passed over, the first since %s%s", neglected.Found, instant(neglected.Since), named(neglected.Connections)))
	}
	if waiting := slices.DeleteFunc(late, func(c perennial.Connection) bool { return slices.Contains(ids(neglected.Connections), c.ID) }); len(waiting) > 0 && neglected.Found < counted {
		out = append(out, warning("see the line `apps`; a limit (max_refreshes_per_second) may be too low", "connections due for longer than %s in a backlog that is being served: %s, the first since %s%s",
			grace, number(waiting), instant(oldest(waiting)), named(waiting)))
	}
	if len(beside) > 0 {
		out = append(out, warning("if Temporal was well then, see the line `workflows`; "+stuckAdvice, "refreshed beside Temporal, because their workflows did not in time: %d connections since %s, the last at %s: %s",
			len(beside), instant(earliest(beside)), instant(newest(beside)), some(slices.Collect(maps.Keys(beside)))))
	}
	if len(out) == 0 {
		out = append(out, well("none is neglected, and none due for longer than %s", grace))
	}
	return out, nil
}

// neglectAdvice says what to do about neglected connections.
const neglectAdvice = "see the lines `temporal`, `permissions`, `workers`, `sweep` and `workflows`; a worker with a spool refreshes them meanwhile; one of them at once by `perennial refresh ID`"

// stuckAdvice says what to do about a workflow that does nothing. Nobody ends it: it may
// hold a token set that is nowhere else.
const stuckAdvice = "a workflow that does nothing goes on after `temporal workflow signal --workflow-id connection/ID --name continue_as_new`, or else `temporal workflow reset --workflow-id connection/ID --type LastWorkflowTask`; never terminate it: it may hold a token set"

func named(cs []perennial.Connection) string {
	if len(cs) == 0 {
		return ""
	}
	return ": " + some(ids(cs))
}

func earliest(at map[string]time.Time) time.Time {
	return slices.MinFunc(slices.Collect(maps.Values(at)), time.Time.Compare)
}

func newest(at map[string]time.Time) time.Time {
	return slices.MaxFunc(slices.Collect(maps.Values(at)), time.Time.Compare)
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
	lost, ambiguous, unclear := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, c := range append(due, failing...) {
		if c.Open.ID != "" && now.Sub(c.Open.Deadline) > sweep.Grace+2*sweep.Every {
			lost[c.ID] = true
		}
		if c.Ambiguous() {
			ambiguous[c.ID] = true
		}
		if c.FailingCode == store.CodeRefusedUnclear {
			unclear[c.ID] = true
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
	if len(unclear) > 0 {
		out = append(out, warning("`perennial show ID` has the provider's code: if it means a dead grant, give the app a spelling for it; reconnecting the account mends a dead grant at once", "connections that are refused for more than an hour in words that nobody understands: %s", some(keysOf(unclear))))
	}
	if len(out) == 0 {
		out = append(out, well("no lost attempt, no late or unclear refusal, no ambiguous token among %d due and %d failing connections", len(due), len(failing)))
	}
	return out, nil
}

func keysOf(m map[string]bool) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}
