package timing

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

const (
	// MaxRest is the longest time that the refresh token of an active connection goes
	// unused. This satisfies idle limits that we do not know.
	MaxRest = 24 * time.Hour
	// blindLife stands in for an unknown access token lifetime: short enough for every
	// provider in the catalogue.
	blindLife = 30 * time.Minute
	// pausedRest is the longest time between two keep-alives of a paused connection.
	pausedRest = 30 * 24 * time.Hour
	// pausedBlindRest is the same if the refresh token's idle limit is not known.
	pausedBlindRest = 7 * 24 * time.Hour
	// slowTimer wakes a connection that waits for its user, so that its workflow picks
	// up new versions.
	slowTimer = 24 * time.Hour
)

// Buffer returns how long before its expiry the profile renews a token with the given
// life: never more than 25 % of the life.
func Buffer(profile provider.BufferProfile, life time.Duration) time.Duration {
	buffer := 5 * time.Minute
	switch profile {
	case provider.BufferRealtime:
		buffer = 2 * time.Minute
	case provider.BufferShare:
		buffer = min(life/10, 10*time.Minute)
	default:
		if fixed, ok := profile.Fixed(); ok {
			buffer = fixed
		}
	}
	return min(buffer, life/4)
}

// Due returns when to renew a token set that was requested at start: never less than
// half of its life after start, never less than the buffer before its end, at most a
// day after start. A life of zero or less is unknown; the token set is then renewed
// within half an hour. Due is pure, so every caller computes the same.
//
// Renewals spread by themselves. Connections with the same life have the same cycle, a
// little shorter than that life less its buffer. Each has its own place in the cycle,
// which follows from its id. A connection in its place is renewed once a cycle. One
// that is out of place (many were imported at once, or an outage delayed it) is renewed
// early until it is in place, which mostly takes three renewals at most.
func Due(start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	return DueAfter(life, start, life, profile, id, generation)
}

// DueAfter is [Due] with the life of the token set that this one replaces; zero: there
// was none. If lives differ each time, renewals spread by themselves, and a place in a
// changing cycle would only cost renewals.
func DueAfter(before time.Duration, start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	if life <= 0 {
		before, life = blindLife, blindLife
	}
	last := min(life-Buffer(profile, life), MaxRest)
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
	most := last - min(life, MaxRest)/2
	if _, fixed := profile.Fixed(); fixed || profile == provider.BufferRealtime {
		most = min(most, life/10) // such an app renews late on purpose
	}
	if early > most {
		// Its place is too early for one step. Nor may all such connections meet in
		// another place.
		early = time.Duration(fraction(id, generation) * float64(most))
	}
	return end.Add(-early)
}

// Late moves a due time into the part of a token's life before end in which its provider
// refreshes. The first sixth of that part is left for our clock and the request's way
// (see [provider.Entry.OpensBefore]), and token sets with one end spread over the next.
func Late(due, end time.Time, e provider.Entry, id string, generation int64) time.Time {
	if from := end.Add(-e.OpensBefore()); e.RefreshWithin > 0 && due.Before(from) {
		return from.Add(time.Duration(fraction(id, generation) * float64(e.RefreshWithin/6)))
	}
	return due
}

// sameLife is the part of a life by which the next life may differ and still count as
// the same: a provider rounds, or a reply takes long.
const sameLife = 50

// cycleUnits are the units to which cycles are rounded down. A life that is some
// seconds shorter now and then thus keeps its cycle, and every connection its place.
var cycleUnits = []time.Duration{5 * time.Minute, time.Minute, 15 * time.Second, 5 * time.Second, time.Second}

// cycleOf returns the time between two renewals of a connection in its place: a third
// to four thirds of a unit, about 1 %, below the longest time, last.
func cycleOf(last time.Duration) time.Duration {
	for _, unit := range cycleUnits {
		if last >= 64*unit || unit == time.Second && last >= 10*unit {
			return (last - unit/3).Truncate(unit)
		}
	}
	return max(last, 1) // lives of seconds occur in tests
}

// fraction returns a number from 0 to below 1 that depends only on its arguments and
// looks random: FNV-1a, whose last bits are mixed into all (the finalizer of
// MurmurHash3).
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

// Wake returns when a connection's workflow must act next, and for what. An empty
// trigger means: read the row again, present nothing. It is pure. now is the database's
// clock.
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
		// An attempt failed, or its outcome is unknown. Settle that as soon as the
		// row's waits allow, however long the old access token lasts. A grace window
		// does not wait for the due time.
		at, trigger = time.Time{}, perennial.TriggerRetry
	case ImplausibleDue(c, now):
		at = now
	}
	return waits(c, now, at), trigger
}

// waits returns the later of at and the end of the row's waits.
func waits(c perennial.Connection, now, at time.Time) time.Time {
	at = later(at, c.WaitsUntil(now))
	if c.Open.Alive(now) {
		at = later(at, c.Open.Deadline)
	}
	return at
}

// ImplausibleDue reports whether an active row's due time cannot be right: missing,
// after the token's end (for a connection whose token is always kept valid), or further
// away than its refresh token may rest. Such a row is due now. [store.Store.InDoubt]
// finds the same rows.
func ImplausibleDue(c perennial.Connection, now time.Time) bool {
	last := later(c.LastRefreshedAt, c.CreatedAt)
	if last.After(now) {
		last = now
	}
	switch {
	case c.NextRefreshAt.IsZero(), c.NextRefreshAt.After(last.Add(restOf(c, last))):
		return true
	case c.Cadence == perennial.CadenceOnUse:
		return false
	case c.ExpiresAt.IsZero():
		return c.NextRefreshAt.After(last.Add(blindLife))
	}
	return c.NextRefreshAt.After(c.ExpiresAt)
}

// restOf returns the longest time that a connection's refresh token may rest: MaxRest, or
// half of its life unused if that is known and longer.
func restOf(c perennial.Connection, last time.Time) time.Duration {
	return max(MaxRest, c.RefreshTokenExpiresAt.Sub(last)/2)
}

// pausedWake returns when to refresh a paused connection so that its refresh token does
// not expire unused: at half of its idle life.
func pausedWake(c perennial.Connection) time.Time {
	last := later(c.LastRefreshedAt, c.CreatedAt)
	rest := pausedBlindRest
	if c.RefreshTokenExpiresAt.After(last) {
		rest = min(c.RefreshTokenExpiresAt.Sub(last)/2, pausedRest)
	}
	return last.Add(rest)
}

// later returns the latest of the times. Zero times do not count.
func later(times ...time.Time) time.Time {
	var latest time.Time
	for _, t := range times {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}
