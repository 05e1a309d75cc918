package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// claimCase is a connection, what its gate knows, and a claim of it.
type claimCase struct {
	name       string // how it differs from the plain one
	row        perennial.Connection
	circuit    *circuitRow // at its host
	app        *appRow
	turn       string // "waits": it waits for its turn in a release; "has": it has its turn
	otherHost  string // host of another open circuit of its app
	secondHost bool   // its app has a connection at another host
	req        ClaimRequest
	otherApp   bool          // the claim names another app
	late       time.Duration // see [ClaimDueRequest]
}

// pointer returns nil for the zero time.
func pointer(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func plainCase(now time.Time) claimCase {
	past := now.Add(-24 * time.Hour).Truncate(time.Second)
	due := now.Add(-3 * time.Hour).Truncate(time.Second)
	return claimCase{
		row: perennial.Connection{TenantID: "acme", Provider: "hubspot", Host: "h", Cadence: "always", Status: "active", Health: "healthy", Generation: 5,
			RefreshTokenDigest: "d", NextRefreshAt: due, CreatedAt: past, UpdatedAt: past},
		app: &appRow{},
		req: ClaimRequest{Generation: 5, Trigger: perennial.TriggerTimer, AttemptID: "mine", Lease: time.Minute, Class: perennial.ReplaySingleUse,
			Floor: perennial.Floor{First: 10 * time.Second, Longest: 10 * time.Minute}},
	}
}

// claimCases returns the plain case, every case that differs in one thing (the times
// also for a claim of late connections), and drawn cases that differ in several.
func claimCases(now time.Time, near time.Duration, r *rand.Rand, drawn int) []claimCase {
	at := func(d time.Duration) time.Time { return now.Add(d).Truncate(time.Microsecond) }
	type change struct {
		name string
		to   func(*claimCase)
	}
	var things [][]change
	thing := func(name string, values ...func(*claimCase)) {
		var changes []change
		for i, to := range values {
			changes = append(changes, change{fmt.Sprintf("%s %d", name, i), to})
		}
		things = append(things, changes)
	}
	// atTimes tries times in the past, now and in the future, and around the longest
	// wait.
	atTimes := func(name string, to func(*claimCase, time.Time)) []change {
		offsets := []time.Duration{-40 * time.Hour, -2 * time.Hour, -90 * time.Minute, -time.Hour, -30 * time.Minute, -time.Minute, -near, near, 30 * time.Minute,
			time.Hour, perennial.MaxWait - near, perennial.MaxWait + near, 40 * time.Hour}
		if near < time.Minute { // the clock is stopped
			offsets = append(offsets, -time.Hour+near, -time.Hour-near, 0, perennial.MaxWait)
		}
		changes := []change{{name + " unset", func(c *claimCase) { to(c, time.Time{}) }}}
		for _, d := range offsets {
			changes = append(changes, change{fmt.Sprintf("%s at %s", name, d), func(c *claimCase) { to(c, at(d)) }})
		}
		return changes
	}
	times := func(name string, to func(*claimCase, time.Time)) { things = append(things, atTimes(name, to)) }

	var statuses []func(*claimCase)
	for _, s := range perennial.Statuses {
		statuses = append(statuses, func(c *claimCase) { c.row.Status = s })
	}
	thing("status", statuses...)
	var healths []func(*claimCase)
	for _, h := range perennial.Healths {
		for _, code := range []string{"", CodeCircuitOpen, CodeSlowDown, CodeRateLimit, CodeStopped, CodeRefusalHold, CodeSetAside, "http_503"} {
			healths = append(healths, func(c *claimCase) { c.row.Health, c.row.FailingCode = h, code })
		}
	}
	thing("health", healths...)
	thing("failures", func(c *claimCase) { c.row.FailureCount = 1 }, func(c *claimCase) { c.row.FailureCount = 7 })
	thing("ambiguous", func(c *claimCase) { c.row.AmbiguousSince, c.row.AmbiguousDigest = at(-time.Hour), "d" },
		func(c *claimCase) { c.row.AmbiguousSince, c.row.AmbiguousDigest = at(-time.Hour), "old" })
	thing("suspect", func(c *claimCase) { c.row.SuspectSince, c.row.SuspectDigest = at(-time.Hour), "d" },
		func(c *claimCase) { c.row.SuspectSince, c.row.SuspectDigest = at(-time.Hour), "old" })
	times("confirm", func(c *claimCase, at time.Time) { c.row.ConfirmAt = at })
	times("next attempt", func(c *claimCase, at time.Time) { c.row.NextAttemptAt = at })
	times("due", func(c *claimCase, at time.Time) { c.row.NextRefreshAt = at })
	times("expires", func(c *claimCase, at time.Time) { c.row.ExpiresAt = at })
	times("queued", func(c *claimCase, at time.Time) { c.row.QueuedAt = at })
	var attempts []change
	for _, id := range []string{"other", "mine", ""} { // "": what an attempt left behind
		for _, digest := range []string{"d", "old"} {
			for _, sent := range []bool{false, true} {
				attempts = append(attempts, atTimes(fmt.Sprintf("attempt %q of %s, sent %t, until", id, digest, sent), func(c *claimCase, deadline time.Time) {
					c.row.Open = perennial.OpenAttempt{ID: id, Digest: digest, Sent: sent, Trigger: perennial.TriggerRetry, Deadline: deadline}
					if !deadline.IsZero() {
						c.row.Open.StartedAt = deadline.Add(-time.Minute)
					}
				})...)
			}
		}
	}
	things = append(things, attempts)
	var asked []func(*claimCase)
	for _, generation := range []int64{1, 4, 6, 9, 5 + perennial.MaxGenerationGap, 6 + perennial.MaxGenerationGap} {
		asked = append(asked, func(c *claimCase) { c.req.Generation = generation })
	}
	thing("asked for", asked...)
	thing("generation", func(c *claimCase) { c.row.Generation = 6 }, func(c *claimCase) { c.row.Generation, c.req.Generation = 1, 1 })
	thing("floor", func(c *claimCase) { c.row.GenerationFloor = 4 }, func(c *claimCase) { c.row.GenerationFloor = 1005 })
	for _, generation := range []int64{4, 5, 6, 9} {
		times(fmt.Sprintf("set %d aside until", generation), func(c *claimCase, at time.Time) { c.row.SetAsideGeneration, c.row.SetAsideUntil = generation, at })
	}
	for _, count := range []int{-1, 0, 1, 3, 9, math.MaxInt32} {
		var forced []change
		for _, due := range []time.Duration{-time.Hour, near, time.Hour} {
			for _, trigger := range []perennial.Trigger{perennial.TriggerTimer, perennial.TriggerRequest, perennial.TriggerFallback, perennial.TriggerRevoked} {
				forced = append(forced, atTimes(fmt.Sprintf("due in %s, forced %d times by %s", due, count, trigger), func(c *claimCase, last time.Time) {
					c.row.ForcedAt, c.row.ForcedCount, c.row.NextRefreshAt, c.req.Trigger = last, count, at(due), trigger
				})...)
			}
		}
		things = append(things, forced)
	}
	thing("cadence", func(c *claimCase) { c.row.Cadence = "on_use" })
	thing("another app", func(c *claimCase) { c.otherApp = true })
	var triggers, classes []func(*claimCase)
	for _, trigger := range []perennial.Trigger{perennial.TriggerTimer, perennial.TriggerRetry, perennial.TriggerConfirm, perennial.TriggerKeepAlive, perennial.TriggerRequest, perennial.TriggerFallback, perennial.TriggerTokenRefused} {
		triggers = append(triggers, func(c *claimCase) { c.req.Trigger = trigger })
	}
	for _, class := range perennial.ReplayClasses {
		classes = append(classes, func(c *claimCase) { c.req.Class = class })
	}

	circuit := func(c *claimCase) *circuitRow {
		if c.circuit == nil {
			c.circuit = &circuitRow{}
		}
		return c.circuit
	}
	app := func(c *claimCase) *appRow {
		if c.app == nil {
			c.app = &appRow{}
		}
		return c.app
	}
	thing("a circuit that was open", func(c *claimCase) { circuit(c).Probes, circuit(c).LastCanary = 3, "x" })
	thing("a circuit of the unproven", func(c *claimCase) { circuit(c).UnprovenOnly = true })
	thing("unproven", func(c *claimCase) { c.row.UnprovenSince = at(-time.Hour) })
	for _, reason := range []string{"unavailable", "misconfigured", "rejected"} {
		times("circuit "+reason+", probe", func(c *claimCase, at time.Time) {
			circuit(c).Reason, circuit(c).NextProbeAt, circuit(c).OpenedAt = reason, pointer(at), pointer(at)
		})
	}
	for _, turn := range []string{"", "waits", "has"} {
		times("circuit releasing, turn "+turn, func(c *claimCase, at time.Time) {
			circuit(c).Reason, circuit(c).OpenedAt, circuit(c).ReleasingAt, c.turn = "unavailable", pointer(now.Add(-time.Hour)), pointer(at), turn
		})
	}
	times("host slowed", func(c *claimCase, at time.Time) { circuit(c).SlowUntil = pointer(at) })
	thing("circuit of another host", func(c *claimCase) { c.otherHost = "a" }, func(c *claimCase) { c.otherHost = "z" })
	thing("no app", func(c *claimCase) { c.app = nil })
	times("app slowed", func(c *claimCase, at time.Time) { app(c).SlowUntil = pointer(at) })
	times("app stopped", func(c *claimCase, at time.Time) { app(c).StoppedAt = pointer(at) })
	times("slot", func(c *claimCase, at time.Time) { app(c).SlotAt = pointer(at) })
	times("backlog", func(c *claimCase, at time.Time) { app(c).BacklogAt = pointer(at) })
	times("release", func(c *claimCase, at time.Time) { app(c).ReleaseUntil = pointer(at) })
	thing("refusal hold", func(c *claimCase) {
		app(c).RefusalHold, app(c).HoldReason, app(c).HoldRaisedAt = true, "spike", pointer(at(-time.Hour))
	})
	thing("second host", func(c *claimCase) { c.secondHost = true })

	ofRow := len(things)
	thing("trigger", triggers...)
	thing("class", classes...)
	thing("late", func(c *claimCase) { c.late = 0 }, func(c *claimCase) { c.late = time.Hour }, func(c *claimCase) { c.late = 2 * time.Hour })

	cases := []claimCase{plainCase(now)}
	for _, changes := range things {
		for _, change := range changes {
			c := plainCase(now)
			c.name = change.name
			change.to(&c)
			cases = append(cases, c)
			if strings.HasPrefix(c.name, "next attempt") || strings.HasPrefix(c.name, "due") {
				c.name, c.late = c.name+"; late", time.Hour
				cases = append(cases, c)
			}
		}
	}
	for range drawn {
		c := plainCase(now)
		draw := func(changes []change) {
			change := changes[r.IntN(len(changes))]
			c.name += "; " + change.name
			change.to(&c)
		}
		for _, changes := range things[ofRow:] { // what the claim asks
			draw(changes)
		}
		for range 1 + r.IntN(5) { // only a few, or most rows would not be claimable
			draw(things[r.IntN(ofRow)])
		}
		cases = append(cases, c)
	}
	return cases
}

// insertCases writes each case once for each path, and returns the rows by id.
func insertCases(t *testing.T, s *Store, now time.Time, cases []claimCase) map[string]perennial.Connection {
	t.Helper()
	before := map[string]perennial.Connection{}
	var rows []perennial.Connection
	var circuits []circuitRow
	var apps []appRow
	var waiting []waitingRow
	type pacer struct {
		App       string
		Shard     int
		Shards    int
		UpdatedAt time.Time
	}
	var pacers []pacer
	for i, c := range cases {
		for _, path := range paths {
			id := fmt.Sprintf("%d-%s", i, path)
			r := c.row
			r.ID, r.App, r.AccountID = id, id, id
			before[id] = r
			rows = append(rows, r)
			if c.secondHost {
				r := plainCase(now).row
				r.ID, r.App, r.AccountID, r.Host, r.Status = id+"-second", id, id+"-second", "second", "disconnected"
				rows = append(rows, r)
			}
			if c.circuit != nil {
				r := *c.circuit
				r.App, r.Host, r.UpdatedAt = id, c.row.Host, &now
				circuits = append(circuits, r)
			}
			if c.otherHost != "" {
				circuits = append(circuits, circuitRow{App: id, Host: c.otherHost, Reason: "unavailable", UpdatedAt: &now})
			}
			if c.app != nil {
				r := *c.app
				r.App, r.UpdatedAt = id, &now
				apps = append(apps, r)
			}
			if c.turn != "" {
				w := waitingRow{ConnectionID: id, App: id, Host: c.row.Host, ExpiresAt: &now}
				if c.turn == "has" {
					w.TurnAt = &now
				}
				waiting = append(waiting, w)
			}
			pacers = append(pacers, pacer{id, 0, 1, now})
		}
	}
	db := s.db.With(t.Context())
	require.NoError(t, s.db.Durably(t.Context(), "insert the cases", func(tx *gorm.DB) error {
		for _, row := range rows {
			if err := connections.insert(tx, row, ""); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, db.CreateInBatches(circuits, 100).Error)
	require.NoError(t, db.CreateInBatches(apps, 100).Error)
	require.NoError(t, db.CreateInBatches(waiting, 100).Error)
	require.NoError(t, db.Table("pacers").CreateInBatches(pacers, 100).Error)
	return before
}
