package refresh

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

const (
	// longestRest is the longest that a refresh token goes unused while its
	// connection is active: idle clocks are kept without knowing them.
	maxRest = 24 * time.Hour
	// blindLife stands in for the life of an access token that nobody named:
	// short enough for every provider in the catalogue.
	blindLife = 30 * time.Minute
	// pausedRest is the longest between two keep-alives of a paused connection.
	pausedRest = 30 * 24 * time.Hour
	// pausedBlindRest is the same where no idle life is known.
	pausedBlindRest = 7 * 24 * time.Hour
	// slowTimer wakes a connection that waits for its user, so that its workflow
	// learns new versions.
	slowTimer = 24 * time.Hour
)

// Buffer is how long before the expiry of a token with the given life the
// profile renews it, never more than 25 % of the life.
func Buffer(profile provider.BufferProfile, life time.Duration) time.Duration {
	buffer := 5 * time.Minute
	switch profile {
	case provider.BufferRealtime:
		buffer = 2 * time.Minute
	case provider.BufferShare:
		buffer = min(life/10, 10*time.Minute)
	}
	return min(buffer, life/4)
}

// Due is when a token set that was first asked for at start is renewed: never
// less than half of its life after start, never less than the buffer before its
// end, at most a day after start. A life of zero or less means that none is
// known; the token set is then renewed within half an hour. It is pure, so every
// caller computes the same.
//
// Renewals keep themselves apart. Connections with the same life have the same
// cycle, a little shorter than that life less its buffer, and each has a place of
// its own in it, by its id. A connection in its place is renewed once a cycle. One
// that is not (it was imported with many others, or an outage held it up) is
// renewed early until it is, which takes three renewals at most times.
func Due(start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	return DueAfter(life, start, life, profile, id, generation)
}

// DueAfter is [Due] where before, the life of the token set that this one
// replaces, is known; zero: there was none. Lives that differ each time keep
// renewals apart by themselves; a place in a cycle that changes as well would
// only cost renewals.
func DueAfter(before time.Duration, start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	if life <= 0 {
		before, life = blindLife, blindLife
	}
	last := min(life-Buffer(profile, life), maxRest)
	cycle := cycleOf(last)
	if before > 0 && (before-life).Abs() > life/sameLife {
		return start.Add(cycle)
	}
	end := start.Add(last)
	place := time.Duration(fraction(id, 0) * float64(cycle))
	early := time.Duration((end.UnixNano() - int64(place)) % int64(cycle)) // from its place to the end
	if early < 0 {
		early += cycle // before 1970
	}
	most := last - min(life, maxRest)/2
	if profile == provider.BufferRealtime {
		most = min(most, life/10) // such an app renews late on purpose
	}
	if early > most {
		// Its place is too early for one step; nor may all of those meet in another.
		early = time.Duration(fraction(id, generation) * float64(most))
	}
	return end.Add(-early)
}

// sameLife is the part of a life by which the next may differ and count as the
// same: a provider that rounds, a reply that took long.
const sameLife = 50

// cycleUnits are what cycles are rounded down to, so that a life which is now and
// then some seconds shorter has the same cycle and leaves every connection in its
// place.
var cycleUnits = []time.Duration{5 * time.Minute, time.Minute, 15 * time.Second, 5 * time.Second, time.Second}

// cycleOf is the time between two renewals of a connection in its place, given
// the longest: a third to four thirds of a unit, about 1 %, below it.
func cycleOf(last time.Duration) time.Duration {
	for _, unit := range cycleUnits {
		if last >= 64*unit || unit == time.Second && last >= 10*unit {
			return (last - unit/3).Truncate(unit)
		}
	}
	return max(last, 1) // lives of seconds are for tests
}

// fraction is a number from 0 to below 1 that depends on its arguments only, and
// looks random: FNV-1a, with the last bits mixed into all (MurmurHash3's end).
func fraction(id string, generation int64) float64 {
	sum := uint64(14695981039346656037)
	for i := range len(id) {
		sum = (sum ^ uint64(id[i])) * 1099511628211
	}
	sum ^= uint64(generation) * 0x9e3779b97f4a7c15
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum = (sum ^ sum>>33) * 0xc4ceb9fe1a85ec53
	sum ^= sum >> 33
	return float64(sum>>11) / (1 << 53)
}

// Wake is when a connection's workflow must look after it next, and what for.
// An empty trigger means: read the row again, nothing to present. It is pure;
// now is the database's clock.
func Wake(c perennial.Connection, now time.Time) (time.Time, perennial.Trigger) {
	switch c.Status {
	case perennial.StatusActive:
	case perennial.StatusPaused:
		return waits(c, now, pausedWake(c)), perennial.TriggerKeepAlive
	default:
		return now.Add(slowTimer), ""
	}
	at, trigger := c.NextRefreshAt, perennial.TriggerTimer
	switch {
	case c.Suspect():
		at, trigger = time.Time{}, perennial.TriggerConfirm
	case c.FailureCount > 0, c.Ambiguous(), !c.Open.IsZero():
		// An attempt came to nothing, or may have: that is settled as soon as its
		// waits allow, however long the old access token would last. A grace
		// window does not wait for the due time.
		at, trigger = time.Time{}, perennial.TriggerRetry
	case ImplausibleDue(c, now):
		at = now
	}
	return waits(c, now, at), trigger
}

// waits is at, or the end of what the row waits for before it.
func waits(c perennial.Connection, now, at time.Time) time.Time {
	at = later(at, c.WaitsUntil(now))
	if c.Open.Alive(now) {
		at = later(at, c.Open.Deadline)
	}
	return at
}

// Absurd reports whether an active row's due time cannot be right: missing,
// after the token's end (where the token is always kept valid), or further away
// than any refresh token may rest. Such a row is due now. [store.Store.ImplausibleDue] finds the same rows.
func ImplausibleDue(c perennial.Connection, now time.Time) bool {
	last := later(c.LastRefreshedAt, c.CreatedAt)
	if last.After(now) {
		last = now
	}
	switch {
	case c.NextRefreshAt.IsZero(), c.NextRefreshAt.After(last.Add(maxRest)):
		return true
	case c.Cadence == perennial.CadenceOnUse:
		return false
	case c.ExpiresAt.IsZero():
		return c.NextRefreshAt.After(last.Add(blindLife))
	}
	return c.NextRefreshAt.After(c.ExpiresAt)
}

// pausedWake keeps the idle clock of a paused connection: at half its idle
// life.
func pausedWake(c perennial.Connection) time.Time {
	last := later(c.LastRefreshedAt, c.CreatedAt)
	rest := pausedBlindRest
	if c.RefreshTokenExpiresAt.After(last) {
		rest = min(c.RefreshTokenExpiresAt.Sub(last)/2, pausedRest)
	}
	return last.Add(rest)
}

// later returns the latest of the times; zero times do not count.
func later(times ...time.Time) time.Time {
	var latest time.Time
	for _, t := range times {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
