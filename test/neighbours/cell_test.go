package neighbours

import (
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// cell is one fleet beside sick connections.
type cell struct {
	size    size
	kind    kind
	onset   onset
	tenants tenants
	pace    pace
}

// size is how many are well and how many are sick.
type size struct{ healthy, sick int }

// large is a fleet of three tenants, each connection due once in six minutes.
const large = 1800

// sizes has the numbers of sick connections beside a large fleet, and then the small
// apps of 2, 8 and 16: one of them sick, and half of them.
var sizes = []size{{large, 1}, {large, 10}, {large, 30}, {large, 100}, {1, 1}, {7, 1}, {4, 4}, {15, 1}, {8, 8}}

// onset is since when the sick are sick.
type onset string

const (
	// imported: a caller put them in a moment ago, all at once, and they have never
	// worked.
	imported onset = "imported"
	// long: they worked once, and have failed for most of a day.
	long onset = "long"
	// middle: they were as well as the others, and fall sick in the middle of the run.
	middle onset = "middle"
)

var onsets = []onset{imported, long, middle}

// tenants is whose the sick are: of one of the three tenants, or of each.
type tenants string

const (
	one     tenants = "one"
	several tenants = "several"
)

// pace names the part that refreshes the healthy: their own workflows, or pacers.
type pace string

const (
	own    pace = "own"
	pooled pace = "pooled"
)

func (c cell) String() string {
	return fmt.Sprintf("%d+%d_%s_%s_%s_%s", c.size.healthy, c.size.sick, c.kind, c.onset, c.tenants, c.pace)
}

func (c cell) small() bool { return c.size.healthy < large }

// quiet is the cell without neighbours.
func (c cell) quiet() cell {
	return cell{size: size{healthy: c.size.healthy}, pace: c.pace}
}

const (
	// runs is how long a cell runs, and falls when those fall sick that fall sick in the
	// middle.
	runs  = 30 * time.Minute
	falls = 10 * time.Minute
)

// lateness bounds the 99th percentile of how late a healthy connection is refreshed. Of a
// small app, a few refreshes are all that there are, so it is nearly the largest.
func (c cell) lateness() time.Duration {
	if c.small() {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// tenantOf returns the tenant of the i-th connection, healthy or sick.
func tenantOf(i int) string { return []string{"a", "b", "c"}[i%3] }

// sickOf returns how many of the sick belong to each tenant.
func (c cell) sickOf() map[string]int {
	of := map[string]int{}
	for i := range c.size.sick {
		of[c.tenantOfSick(i)]++
	}
	return of
}

func (c cell) tenantOfSick(i int) string {
	if c.tenants == one {
		return tenantOf(0)
	}
	return tenantOf(i)
}

// expectation lists the effects that the sick may have on their app.
type expectation struct {
	circuit, hold bool
	// importHolds are the tenants whose refused imports are held.
	importHolds int
}

// expected returns the circuits and holds of a cell. It is pure.
func expected(c cell) (e expectation) {
	// A circuit opens for connections that were well until just now, with no success
	// between them. In a large fleet somebody succeeds five times a second. In a small
	// one the sick and the well alternate, so a success lies between any two first
	// failures. Those that have failed for long, or never worked, are no evidence.
	e.circuit = false
	if c.kind != refused {
		return e // nothing else raises a hold
	}
	switch c.onset {
	case middle:
		e.hold = spike(c)
	case imported:
		// The refusals of a tenant's imports are held as soon as three are refused at the
		// same time. Nobody else feels it.
		for _, n := range c.sickOf() {
			if n >= 3 {
				e.importHolds++
			}
		}
	case long: // they are no sign that the provider refuses good tokens
	}
	return e
}

// spike reports whether newly refused connections are so many that the provider may
// refuse good tokens: within ten minutes 30 of a large fleet, and at least three and a
// tenth of a small one. They must be of several tenants, or of one that has most of the
// app.
func spike(c cell) bool {
	most := c.size.sick+c.size.healthy/3 > (c.size.sick+c.size.healthy)/2
	if c.small() {
		return c.size.sick >= 3 && (c.tenants == several || most)
	}
	return c.size.sick >= 30 && c.tenants == several
}

// codes has the failing code of each kind.
var codes = map[kind]string{http500: "http_500", timesOut: "timeout", html: "malformed_reply", http403: "http_403", http401: "http_401",
	invalidClient: "invalid_client", unauthorizedClient: "unauthorized_client", http429: "too_many_requests", refused: "invalid_grant"}

// faults has whose fault each kind is. A bare 401 does not say that it is the client's.
var faults = map[kind]perennial.Fault{http500: perennial.FaultNobody, timesOut: perennial.FaultNobody, html: perennial.FaultNobody, http403: perennial.FaultRequest,
	http401: perennial.FaultRequest, invalidClient: perennial.FaultClient, unauthorizedClient: perennial.FaultClient, http429: perennial.FaultRequest, refused: perennial.FaultGrant}

// misnamed says what is wrong with the name of a sick connection at the end; empty:
// nothing.
func misnamed(c cell, row perennial.Connection) string {
	got := fmt.Sprintf("%s %s %s %s", row.Status, row.Reason, row.Health, row.FailingCode)
	e := expected(c)
	switch {
	case c.kind == slowly: // slow, and well
		if row.Status != perennial.StatusActive || row.Health != perennial.HealthHealthy {
			return got
		}
	case c.kind == refused && row.Status == perennial.StatusReconnectRequired:
		if row.Reason != perennial.ReasonInvalidGrant {
			return got
		}
	case c.kind == refused && (e.hold || e.importHolds > 0):
		if row.Status != perennial.StatusActive || row.Health != perennial.HealthFailing || perennial.FaultOf(row.FailingCode) != perennial.FaultGrant {
			return got
		}
	case row.Status != perennial.StatusActive, row.Health != perennial.HealthFailing, row.FailingCode != codes[c.kind], perennial.FaultOf(row.FailingCode) != faults[c.kind]:
		return got
	}
	if text := row.Words("Acme").String(); strings.Contains(text, "not answered") != (c.kind == http500 || c.kind == timesOut) {
		return text // only silence is called so
	}
	return ""
}
