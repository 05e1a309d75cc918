package scale

import (
	"math"
	"time"

	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// Units are measured costs. Each is of one refresh unless its comment says otherwise.
type Units struct {
	OwnCPU, PooledCPU           float64 // ms, of all processes except the provider
	OwnTemporal, PooledTemporal float64 // ms of it, by Temporal and its database
	OwnActions                  float64 // billable ones
	RowBytes                    float64 // of one connection, with indexes
	LedgerBytes                 float64 // of one ledger line, with indexes
}

// pacerActions are a pacer's own actions in a day: an activity each minute, and at most
// a heartbeat each 24 s. The sweep's schedule is not in it.
const pacerActions = 24*60 + 24*3600/24

// digestActions are the actions of a paced or dormant connection's workflow in a day: a
// timer and a local activity.
const digestActions = 2

// perPacer is how many refreshes a second one pacer is expected to make: 64 at once, at
// a provider that takes half a second.
const perPacer = 100

// Fleet is a fleet to compute.
type Fleet struct {
	Connections int
	Life        time.Duration
	Pooled      bool
	Unused      float64 // share of connections that no product uses, on cadence on_use
	Ledger      time.Duration
}

// Needs are what a fleet needs.
type Needs struct {
	PerSecond     float64 // refreshes
	Actions       float64 // in a month of 30 days
	Price         float64 // list price, US dollars a month
	Contact       bool    // the list has no price for so many: Price uses the last one
	Cores         float64 // busy ones
	TemporalCores float64
	RowWrites     float64 // per second, in our database
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

// interval returns the time between two refreshes of a token with the given life.
func interval(life time.Duration) time.Duration {
	at, before := time.Unix(0, 0), time.Time{}
	for generation := range int64(20) { // until the connection is in its place in the cycle
		before, at = at, timing.Due(at, life, provider.BufferQueue, "any", generation)
	}
	return at.Sub(before)
}

// tiers is Temporal Cloud's price list: dollars for a million actions in a month, as of
// 2026-11 (docs.temporal.io/cloud/pricing, pay as you go, Business plan). Above the
// last tier there is no price: contact sales.
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
