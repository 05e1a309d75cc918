package measure

import (
	"time"

	"github.com/perennial-oauth/perennial/provider"
)

const day = 24 * time.Hour

// rounds are the times that people choose for windows and lifetimes.
var rounds = []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 90 * time.Minute, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 8 * time.Hour, 12 * time.Hour,
	day, 2 * day, 7 * day, 14 * day, 30 * day, 60 * day, 90 * day}

// margin is how far from a round time a probe lies on each side: more than a request
// takes, and less than the way to the next round time.
func margin(d time.Duration) time.Duration {
	return min(max(d/60, time.Second), time.Minute)
}

// bracket is where a time ends: it was not over yet at from, and it was over at to.
type bracket struct {
	from, to time.Duration
	open     bool // its end was not seen: to is not set
}

// round returns the longest round time that is surely not longer than the bracketed one,
// but for the margin; 0 if there is none.
func (b bracket) round() (longest time.Duration) {
	for _, d := range rounds {
		if d-margin(d) <= b.from {
			longest = d
		}
	}
	return longest
}

// exact reports whether the bracket holds only this round time.
func (b bracket) exact() bool {
	d := b.round()
	return !b.open && d > 0 && b.to <= d+margin(d)
}

// probes returns the times at which to look for the end of something, at most longest.
func probes(longest time.Duration) (at []time.Duration) {
	for _, d := range rounds {
		if d <= longest {
			at = append(at, d-margin(d), d+margin(d))
		}
	}
	return at
}

// written writes a duration as a description does.
func written(d time.Duration) string {
	return string(provider.Describe(provider.Entry{DefaultLifetime: d}).DefaultLifetime)
}
