package perennial

import "time"

// Floor bounds how often callers may force a refresh of one connection: have a token set
// renewed that is alive, well and not due yet. The first forced refresh is free. The
// next one waits, twice as long after each. Nothing else waits for it: not a due
// refresh, a retry, nor a new grant.
type Floor struct {
	First   time.Duration // the wait after the first forced refresh; zero or less: there is no floor
	Longest time.Duration // the longest wait
	// OpensBefore is how long before an access token's end its provider refreshes it at
	// the earliest; zero: at any time. Until then every forced refresh waits, also the
	// first, and if First is zero: the provider would refuse it.
	OpensBefore time.Duration
}

// ForcedForgotten is how long a connection goes without a forced refresh before they
// are counted anew. No wait of a [Floor] is longer.
const ForcedForgotten = 20 * time.Minute

// Until returns the time before which a forced refresh of c comes too soon: zero, or a
// past time, if there is none. From the time on at which c is due, or has no living
// access token, a refresh is not forced. now is the database's clock. A forced refresh
// in the future says nothing, because that clock went back.
func (f Floor) Until(c Connection, now time.Time) time.Time {
	until := f.again(c, now)
	if opens := f.opens(c); opens.After(until) {
		return opens
	}
	return until
}

// opens returns from when on the provider refreshes c's access token.
func (f Floor) opens(c Connection) time.Time {
	if f.OpensBefore <= 0 || c.ExpiresAt.IsZero() {
		return time.Time{}
	}
	opens := c.ExpiresAt.Add(-f.OpensBefore)
	if c.NextRefreshAt.Before(opens) {
		return c.NextRefreshAt
	}
	return opens
}

// again returns when callers may force another refresh of c.
func (f Floor) again(c Connection, now time.Time) time.Time {
	if f.First <= 0 || c.ForcedAt.IsZero() || c.ForcedAt.After(now) || c.NextRefreshAt.IsZero() {
		return time.Time{}
	}
	until := c.ForcedAt.Add(f.wait(c.ForcedCount))
	if c.NextRefreshAt.Before(until) {
		until = c.NextRefreshAt
	}
	if !c.ExpiresAt.IsZero() && c.ExpiresAt.Before(until) {
		until = c.ExpiresAt
	}
	return until
}

// wait returns how long the next forced refresh waits after so many. The count may be any
// number: a row can hold one that this program did not write.
func (f Floor) wait(count int) time.Duration {
	longest := min(max(f.Longest, f.First), ForcedForgotten)
	wait := f.First
	for n := 1; n < count && wait < longest; n++ {
		wait *= 2
	}
	return min(wait, longest)
}
