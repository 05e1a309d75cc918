package scale

import (
	"math"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
)

// Units are measured costs, of one refresh where nothing else is said.
type Units struct {
	OwnCPU, PooledCPU           float64 // ms, all processes but the provider
	OwnTemporal, PooledTemporal float64 // ms of it, Temporal with its database
	OwnActions                  float64 // billable
	RowBytes                    float64 // of one connection, indexes included
	LedgerBytes                 float64 // of one line, indexes included
}

// A pacer's own actions in a day: an activity each minute and a heartbeat each 24 s
// at most, and the sweep's schedule beside.
const pacerActions = 24*60 + 24*3600/24

// digestActions are those of a paced or dormant connection's workflow in a day: a
// timer and a local activity.
const digestActions = 2

// perPacer is how many refreshes a second one pacer is given: 64 at once, at a
// provider that takes half a second.
const perPacer = 100

// Fleet is one answer.
type Fleet struct {
	Connections int
	Life        time.Duration
	Pooled      bool
	Unused      float64 // share of connections that nobody uses, on cadence on_use
	Ledger      time.Duration
}

// Needs are what a fleet needs.
type Needs struct {
	PerSecond     float64 // refreshes
	Actions       float64 // a month of 30 days
	Price         float64 // US dollars a month, list
	Contact       bool    // the list has no price for some of them: the last one is taken
	Cores         float64 // busy
	TemporalCores float64
	RowWrites     float64 // a second, in our database
	Bytes         float64 // of our database
	Pacers        int
}

// Of computes a fleet's needs.
func (u Units) Of(f Fleet) Needs {
	day := 24 * time.Hour
	used := float64(f.Connections) * (1 - f.Unused)
	unused := float64(f.Connections) * f.Unused
	perDay := used*day.Seconds()/interval(f.Life).Seconds() + unused
	n := Needs{PerSecond: perDay / day.Seconds()}
	cpu, temporal := u.OwnCPU, u.OwnTemporal
	actions := perDay * u.OwnActions
	if f.Pooled {
		cpu, temporal = u.PooledCPU, u.PooledTemporal
		n.Pacers = max(2, int(math.Ceil(n.PerSecond/perPacer)))
		actions = float64(f.Connections)*digestActions + float64(n.Pacers)*pacerActions
	}
	n.Actions = 30 * actions
	n.Price, n.Contact = price(n.Actions)
	n.Cores, n.TemporalCores = n.PerSecond*cpu/1000, n.PerSecond*temporal/1000
	n.RowWrites = 3 * n.PerSecond // claim, save, ledger
	n.Bytes = float64(f.Connections)*u.RowBytes + perDay*(f.Ledger.Hours()/24)*u.LedgerBytes
	return n
}

// interval is the time between two renewals of a token with the given life.
func interval(life time.Duration) time.Duration {
	at, before := time.Unix(0, 0), time.Time{}
	for generation := range int64(20) { // until it is in its place
		before, at = at, refresh.Due(at, life, provider.BufferQueue, "any", generation)
	}
	return at.Sub(before)
}

// tiers is Temporal Cloud's list, dollars for a million actions of a month, as of
// 2026-11 (docs.temporal.io/cloud/pricing, pay as you go, Business plan). Above the
// last there is none: contact sales.
var tiers = []struct{ upTo, dollars float64 }{{5, 50}, {10, 45}, {20, 40}, {50, 35}, {100, 30}, {200, 25}}

func price(actions float64) (dollars float64, contact bool) {
	millions, from := actions/1e6, 0.0
	for _, t := range tiers {
		dollars += max(min(millions, t.upTo)-from, 0) * t.dollars
		from = t.upTo
	}
	if millions > from {
		return dollars + (millions-from)*tiers[len(tiers)-1].dollars, true
	}
	return dollars, false
}
