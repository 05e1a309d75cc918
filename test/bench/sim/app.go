package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
)

// The engine and the gate use the same values, but do not export them.
const (
	patience  = 500 * time.Millisecond // for a rate slot
	lead      = 50 * time.Millisecond  // between a claim and its slot
	openAfter = 5                      // so many failures in a row, of different connections, open a circuit
	batchSize = 25                     // connections that are released together
)

// app is the state of one app: its provider, its circuit, its limit.
type app struct {
	App
	index   int
	limit   float64
	size    int64 // connections
	outages []Outage
	turns   store.RateSlots

	open      bool
	failed    int     // different connections in a row, with no success between
	throttled []int32 // waiting for the circuit
	probes    int
	nextProbe int64
}

func newApp(i int, a App, c Config) *app {
	out := &app{App: a, index: i, limit: a.Limit * float64(c.Connections) / 1_000_000}
	for _, o := range c.Outages {
		if o.App == a.Name {
			out.outages = append(out.outages, o)
		}
	}
	return out
}

func (a *app) down(now int64) bool {
	return slices.ContainsFunc(a.outages, func(o Outage) bool { return now >= micros(o.At) && now < micros(o.At+o.For) })
}

var probeInterval = timing.Config{}.WithDefaults().ProbeInterval

// admit asks the gate about a connection that is due: first the circuit, then the
// limit.
func (a *app) admit(w *world, i int) {
	c := &w.fleet[i]
	if a.open {
		c.waited, c.hurt = true, true
		a.throttled = append(a.throttled, int32(i))
		return
	}
	now := c.wake
	if a.limit > 0 {
		at, admitted, after := a.turns.Reserve(c.id, c.waited, a.limit, patience, lead, instant(now))
		a.turns = after
		if !admitted {
			c.waited = true
			w.schedule(i, since(at))
			return
		}
		now = since(at)
	}
	if w.present(i, a, now) {
		a.failed = 0
		return
	}
	if c.failures == 1 {
		a.failed++
	}
	if a.failed < openAfter {
		w.schedule(i, now+w.backoff(c.failures))
		return
	}
	a.open, a.probes, a.nextProbe = true, 0, now+micros(probeInterval)
	a.throttled = append(a.throttled, int32(i))
}

// probe presents one waiting connection's token when the open circuit's next probe is
// due. A success releases the others.
func (a *app) probe(w *world, now int64) {
	if !a.open || now < a.nextProbe || len(a.throttled) == 0 {
		return
	}
	i := a.throttled[0]
	a.throttled = append(a.throttled[1:], i) // never the same connection twice in a row
	if !w.present(int(i), a, now) {
		a.nextProbe = now + micros(store.ProbeWait(probeInterval, a.probes))
		a.probes++
		return
	}
	a.throttled = a.throttled[:len(a.throttled)-1]
	a.release(w, now)
}

// release closes the circuit. The waiting connections come at a bounded rate, those
// that expire first before the others.
func (a *app) release(w *world, now int64) {
	slices.SortFunc(a.throttled, func(x, y int32) int { return cmp.Compare(w.fleet[x].expires, w.fleet[y].expires) })
	gap := float64(second) / store.ReleaseRate(a.limit, a.size)
	for n, i := range a.throttled {
		w.schedule(int(i), now+int64(float64(n/batchSize*batchSize)*gap))
	}
	a.open, a.failed, a.throttled = false, 0, nil
}
