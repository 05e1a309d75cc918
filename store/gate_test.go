package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ptr(t time.Time) *time.Time { return &t }

func TestDecideAdmission(t *testing.T) {
	t.Parallel()
	open := circuitRow{Reason: reasonMisconfigured, NextProbeAt: ptr(noon.Add(time.Second)), LastCanary: "last", Connections: 5}
	due := open
	due.NextProbeAt = ptr(noon)
	alone := due
	alone.Connections = 1
	missed := due
	missed.NextProbeAt = ptr(noon.Add(-time.Minute))
	large := open
	large.Connections = 100_000
	for _, c := range []struct {
		name    string
		id      string
		queued  bool
		circuit circuitRow
		app     appRow
		rate    float64
		// other connections that will ask soon after the next probe is due
		candidates int
		want       string // "" for admitted
		probe      bool
		slot       time.Time
		retry      time.Time // not before
		by         time.Time // not after; zero: any time
	}{
		{name: "nothing is wrong"},
		{name: "open", circuit: open, want: CodeCircuitOpen, retry: noon.Add(time.Second)},
		{name: "open, the probe is due", circuit: due, probe: true},
		{name: "open, the probe is due, and it was the last canary", id: "last", circuit: due, want: CodeCircuitOpen, retry: noon.Add(time.Minute), by: noon.Add(time.Minute)},
		{name: "the last canary, and no other took the probe for an interval", id: "last", circuit: missed, probe: true},
		{name: "a large app, and few will ask for the probe", circuit: large, candidates: minCandidates - 1, want: CodeCircuitOpen, retry: noon.Add(time.Second), by: noon.Add(61 * time.Second)},
		{name: "a large app, and enough will ask for the probe", circuit: large, candidates: minCandidates, want: CodeCircuitOpen, retry: noon.Add(61 * time.Second)},
		{name: "a probe goes before the queue", circuit: due, rate: 10, app: appRow{BacklogAt: ptr(noon.Add(time.Hour))}, probe: true, slot: noon.Add(50 * time.Millisecond)},
		{name: "a probe that the limit refuses", circuit: due, rate: 10, app: appRow{SlotAt: ptr(noon.Add(2 * time.Second))}, want: CodeRateLimit, retry: noon.Add(2 * time.Second)},
		{name: "the last canary is the only connection", id: "last", circuit: alone, probe: true},
		{name: "the host asked for less", circuit: circuitRow{SlowUntil: ptr(noon.Add(time.Hour))}, want: CodeSlowDown, retry: noon.Add(time.Hour)},
		{name: "the app was asked for less", app: appRow{SlowUntil: ptr(noon.Add(time.Hour))}, want: CodeSlowDown, retry: noon.Add(time.Hour)},
		{name: "asked for less until now", app: appRow{SlowUntil: ptr(noon)}},
		{name: "a free slot", rate: 10, slot: noon.Add(50 * time.Millisecond)},
		{name: "a slot within patience", rate: 10, app: appRow{SlotAt: ptr(noon.Add(500 * time.Millisecond))}, slot: noon.Add(500 * time.Millisecond)},
		{name: "no slot within patience", rate: 10, app: appRow{SlotAt: ptr(noon.Add(2 * time.Second))}, want: CodeRateLimit, retry: noon.Add(2 * time.Second)},
		{name: "others wait already", rate: 10, app: appRow{BacklogAt: ptr(noon.Add(time.Minute))}, want: CodeRateLimit, retry: noon.Add(time.Minute)},
		{name: "its turn came", rate: 10, queued: true, app: appRow{BacklogAt: ptr(noon.Add(time.Minute))}, slot: noon.Add(50 * time.Millisecond)},
		{name: "its turn came, the slots are late", rate: 10, queued: true, app: appRow{SlotAt: ptr(noon.Add(2 * time.Second))}, want: CodeRateLimit, retry: noon.Add(2 * time.Second)},
		{name: "let go after an outage: its row says when its turn is", app: appRow{ReleaseUntil: ptr(noon.Add(1)), SlotAt: ptr(noon.Add(2 * time.Second))}},
	} {
		req := AdmitRequest{Connection: perennial.Connection{ID: "other"}, Rate: c.rate, Interval: time.Minute, Patience: time.Second, Lead: 50 * time.Millisecond}
		if c.id != "" {
			req.Connection.ID = c.id
		}
		if c.queued {
			req.Connection.QueuedAt = noon.Add(-time.Minute)
		}
		d := decideAdmission(c.circuit, c.app, c.candidates, req, noon)
		got := d.admission
		require.Equal(t, c.want, got.Code, c.name)
		assert.Equal(t, c.want == "", got.Admitted, c.name)
		assert.Equal(t, c.probe, got.Probe, c.name)
		assert.Equal(t, c.slot, got.SlotAt, c.name)
		if !got.Admitted {
			assert.False(t, got.RetryAt.Before(c.retry), c.name)
			assert.False(t, !c.by.IsZero() && got.RetryAt.After(c.by), "%s: %s", c.name, got.RetryAt)
			assert.Empty(t, d.circuit, "%s: the probe is left to another", c.name)
		}
	}
}

// TestOneProbeEachInterval: in a fleet that asks all the time there is one canary an
// interval, never the same one twice in a row.
func TestOneProbeEachInterval(t *testing.T) {
	t.Parallel()
	circuit := circuitRow{Reason: reasonMisconfigured, NextProbeAt: ptr(noon), Connections: 3}
	now, last, probes := noon, "", 0
	for i := range 3000 {
		now = now.Add(100 * time.Millisecond)
		req := AdmitRequest{Connection: perennial.Connection{ID: fmt.Sprint(i % 3)}, Interval: 10 * time.Second}
		d := decideAdmission(circuit, appRow{}, minCandidates, req, now)
		if !d.admission.Admitted {
			continue
		}
		require.NotEqual(t, last, req.Connection.ID)
		last = req.Connection.ID
		probes++
		circuit.LastCanary, circuit.Probes = last, d.circuit["probes"].(int)
		circuit.NextProbeAt = ptr(d.circuit["next_probe_at"].(time.Time))
	}
	assert.Equal(t, 25, probes, "300 s: after 0, 10, 20, ..., 200, 220, 240, ... s")
}

// TestLimitHolds: 2,000 connections ask at once, and again when their turn comes, and
// each request leaves as late as it may. No second has more than the limit and one, and
// every connection gets its turn.
func TestLimitHolds(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{0.5, 1, 7, 50, 400} {
		var app appRow
		type asker struct {
			at     time.Time
			queued bool
		}
		askers := make([]asker, 2000)
		for i := range askers {
			askers[i].at = noon
		}
		var sent []time.Time
		steps := 0
		for left := len(askers); left > 0; {
			next := 0
			for i, a := range askers {
				if !a.at.IsZero() && (askers[next].at.IsZero() || a.at.Before(askers[next].at)) {
					next = i
				}
			}
			a := &askers[next]
			req := AdmitRequest{Connection: perennial.Connection{ID: fmt.Sprint(next)}, Rate: rate, Patience: time.Second, Lead: 50 * time.Millisecond}
			if a.queued {
				req.Connection.QueuedAt = noon
			}
			d := decideAdmission(circuitRow{}, app, 0, req, a.at)
			if v, ok := d.app["slot_at"]; ok {
				app.SlotAt = ptr(v.(time.Time))
			}
			if v, ok := d.app["backlog_at"]; ok {
				app.BacklogAt = ptr(v.(time.Time))
			}
			if d.admission.Admitted {
				late := time.Duration(len(sent)%2) * SlotTolerance
				sent = append(sent, d.admission.SlotAt.Add(late))
				a.at, left = time.Time{}, left-1
				continue
			}
			a.at, a.queued = d.admission.RetryAt, true
			steps++
			require.Less(t, steps, 3*len(askers), "nobody asks again and again")
		}
		for i := range sent {
			n := 0
			for _, other := range sent {
				if d := other.Sub(sent[i]); d >= 0 && d < time.Second {
					n++
				}
			}
			require.LessOrEqual(t, float64(n), rate+1, "at %g a second", rate)
		}
		took := sent[len(sent)-1].Sub(noon)
		assert.Less(t, took, time.Duration(1.3*2000/rate*float64(time.Second))+2*time.Second, "the limit is used")
	}
}

func TestHoldThreshold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ size, before, want int64 }{
		{1, 0, 3}, {5, 0, 3}, {200, 0, 20}, {1800, 0, 30}, {10_000, 0, 30}, {1_000_000, 0, 30},
		{10_000, 100_000, 397}, // an app where many leave anyway
	} {
		assert.Equal(t, c.want, holdThreshold(c.size, c.before), "%+v", c)
	}
}

func TestWarning(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	end := noon.Add(20 * day)
	assert.Equal(t, 30, warning(end, perennial.Warning{}, noon))
	assert.Zero(t, warning(end, perennial.Warning{Days: 30, For: end}, noon), "told already")
	assert.Zero(t, warning(end.Add(time.Minute), perennial.Warning{Days: 30, For: end}, noon), "the same end, read anew")
	assert.Equal(t, 30, warning(end.Add(2*day), perennial.Warning{Days: 30, For: end}, noon), "another end")
	assert.Equal(t, 7, warning(end, perennial.Warning{Days: 30, For: end}, end.Add(-7*day)))
	assert.Equal(t, 1, warning(end, perennial.Warning{Days: 7, For: end}, end.Add(-time.Hour)))
	assert.Zero(t, warning(end, perennial.Warning{Days: 1, For: end}, end.Add(-time.Hour)))
	assert.Zero(t, warning(end, perennial.Warning{Days: 1, For: end}, end), "too late to warn")
	assert.Zero(t, warning(noon.Add(31*day), perennial.Warning{}, noon))
	assert.Zero(t, warning(time.Time{}, perennial.Warning{}, noon))

	// A refresh token of seven days that each refresh renews causes a warning only when
	// the refreshes stop.
	w := warnedColumns("idle", noon, noon.Add(7*day), noon)
	assert.Equal(t, 7, w["idle_warned_days"])
	assert.Zero(t, warning(noon.Add(7*day), perennial.Warning{Days: 7, For: noon.Add(7 * day)}, noon.Add(time.Hour)))
	assert.Equal(t, 1, warning(noon.Add(7*day), perennial.Warning{Days: 7, For: noon.Add(7 * day)}, noon.Add(6*day)))
	assert.Nil(t, warnedColumns("idle", end, end.Add(time.Minute), noon), "an end that is counted down keeps its warnings")
}
