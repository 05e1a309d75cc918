package refresh

import (
	"hash/fnv"
	"strconv"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

const (
	// longestRest is the longest that a refresh token goes unused while its
	// connection is active: idle clocks are kept without knowing them.
	longestRest = 24 * time.Hour
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

// jitter spreads due times over 10 % of the life, at most 5 min. It depends on
// the connection and its generation only, so every caller computes the same.
func jitter(id string, generation int64, life time.Duration) time.Duration {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id + "/" + strconv.FormatInt(generation, 10))) // a hash never fails
	span := min(life/10, 5*time.Minute)
	// FNV's high bits of near-alike inputs are alike; fold them.
	sum := h.Sum64()
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	return time.Duration(float64(sum>>11) / (1 << 53) * float64(span))
}

// Due is when a token set that was first asked for at start is renewed:
// start + life - buffer - jitter, at most a day after start. Buffer and jitter
// together never take more than half the life. A life of zero or less means
// that none is known; the token set is then renewed within half an hour.
func Due(start time.Time, life time.Duration, profile provider.BufferProfile, id string, generation int64) time.Time {
	if life <= 0 {
		life = blindLife
	}
	early := min(Buffer(profile, life)+jitter(id, generation, life), life/2)
	return start.Add(min(life-early, longestRest-jitter(id, generation, longestRest)))
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
	case Absurd(c, now):
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
// after the token's end, or further away than any refresh token may rest. Such a
// row is due now. [store.Store.Absurd] finds the same rows.
func Absurd(c perennial.Connection, now time.Time) bool {
	last := later(c.LastRefreshedAt, c.CreatedAt)
	if last.After(now) {
		last = now
	}
	switch {
	case c.NextRefreshAt.IsZero(), c.NextRefreshAt.After(last.Add(longestRest)):
		return true
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
