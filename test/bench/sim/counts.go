package sim

import (
	"math"
	"time"
)

// counts are the counts of a running simulation.
type counts struct {
	minutes    [][]uint32 // refreshes by app and minute
	seconds    [][4]int   // requests by app, in the seconds around now
	busiest    []int      // most requests of an app in a second
	requests   []int64
	late       []int64 // refreshes after expiry, though the provider was up
	lateOutage []int64 // refreshes after expiry, where the provider was down since the last refresh
	least      []int64 // least life left at a refresh that no outage delayed
}

func newCounts(c Config) *counts {
	n := len(c.Apps)
	out := &counts{minutes: make([][]uint32, n), seconds: make([][4]int, n), busiest: make([]int, n), requests: make([]int64, n),
		late: make([]int64, n), lateOutage: make([]int64, n), least: make([]int64, n)}
	for i := range n {
		out.minutes[i] = make([]uint32, int(c.For/time.Minute)+1)
		out.least[i] = math.MaxInt64
	}
	return out
}

// request counts one token request. now is at most two seconds after the current
// second.
func (c *counts) request(app int, now int64) {
	c.requests[app]++
	c.seconds[app][now/second%4]++
}

func (c *counts) refreshed(app int, now, left int64, hurt bool) {
	if m := now / second / 60; m < int64(len(c.minutes[app])) {
		c.minutes[app][m]++
	}
	if hurt {
		if left < 0 {
			c.lateOutage[app]++
		}
		return
	}
	if left < 0 {
		c.late[app]++
	}
	c.least[app] = min(c.least[app], left)
}

// pass ends a second.
func (c *counts) pass(s int) {
	for app := range c.seconds {
		n := &c.seconds[app][s%4]
		c.busiest[app] = max(c.busiest[app], *n)
		*n = 0
	}
}
