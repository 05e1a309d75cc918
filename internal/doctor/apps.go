package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/store"
)

const (
	// shownIncidents bounds the apps and the circuits that are read, and the findings.
	shownIncidents = 20
	// waitingCounted is up to how many waiting connections are counted.
	waitingCounted = 10000
	// misconfigured is the reason of a circuit that a rejected client has opened.
	misconfigured = "misconfigured"
)

// apps looks at circuits, slow-downs, refusal holds and releases.
func apps(ctx context.Context, p *parts) ([]Finding, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	states, err := rows.AppsWithIncidents(ctx, shownIncidents)
	if err != nil {
		return nil, err
	}
	now, err := rows.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, s := range states {
		for _, c := range s.Circuits {
			waiting, err := rows.Queued(ctx, c.App, c.Host, waitingCounted)
			if err != nil {
				return out, err
			}
			out = append(out, aboutCircuit(c, waiting, now)...)
		}
		waiting, err := rows.Queued(ctx, s.App, "", waitingCounted)
		if err != nil {
			return out, err
		}
		out = append(out, aboutApp(s, waiting, now)...)
	}
	if len(states) >= shownIncidents {
		out = append(out, warning("run `perennial app list` for all", "there are more than %d apps or hosts in trouble", shownIncidents))
	}
	if len(out) == 0 {
		return one(well("no open circuit, no refusal hold, no slow-down, no release under way"))
	}
	return out, nil
}

func aboutCircuit(c store.Circuit, waiting int64, now time.Time) (out []Finding) {
	if c.Open {
		do := "wait for the provider: it is probed by itself; `perennial app show " + c.App + "`"
		if c.Reason == misconfigured {
			do = "correct the app's client id or client secret, then restart the workers"
		}
		out = append(out, wrong(do, "app %s at %s: circuit open since %s, %s (%s); next probe %s; %s wait", c.App, c.Host, instant(c.OpenedAt), c.Reason, c.Code, instant(c.NextProbeAt), atMost(waiting, waitingCounted)))
	}
	if c.SlowUntil.After(now) {
		out = append(out, warning("nothing, unless it is often so: then set max_refreshes_per_second", "app %s at %s: the provider asked for a pause until %s; %s wait", c.App, c.Host, instant(c.SlowUntil), atMost(waiting, waitingCounted)))
	}
	return out
}

func aboutApp(s store.AppState, waiting int64, now time.Time) (out []Finding) {
	if !s.StoppedAt.IsZero() {
		out = append(out, wrong("`perennial app start "+s.App+"`, if it may go on", "app %s: an operator has stopped it at %s: nothing of it is refreshed; %s wait", s.App, instant(s.StoppedAt), atMost(waiting, waitingCounted)))
	}
	if s.RefusalHold {
		out = append(out, wrong(fmt.Sprintf("ask the provider; then `perennial app release %s` if it is a false alarm, `perennial app confirm %s` if the refusals are real", s.App, s.App),
			"app %s: refusals are not believed since %s: %s", s.App, instant(s.HoldRaisedAt), s.HoldReason))
	}
	if s.SlowUntil.After(now) {
		out = append(out, warning("nothing, unless it is often so: then set max_refreshes_per_second", "app %s: the provider asked for a pause until %s; %s wait", s.App, instant(s.SlowUntil), atMost(waiting, waitingCounted)))
	}
	if s.ReleaseUntil.After(now) {
		out = append(out, well("app %s: after an outage its waiting connections are released until about %s; %s wait", s.App, instant(s.ReleaseUntil), atMost(waiting, waitingCounted)))
	}
	return out
}
