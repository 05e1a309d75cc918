// Package retryafter reads the Retry-After header (RFC 9110 section 10.2.3).
package retryafter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Shorter and longer waits are replaced by these bounds.
const (
	Min = time.Second
	Max = 24 * time.Hour
)

// Read returns how long a reply asks to wait, within the bounds. It returns 0 if the
// header is missing or cannot be read. The header is a number of seconds or a date. Some
// servers send an instant since 1970, milliseconds, a date in the form of RFC 3339, or a
// number with its unit. Read compares an instant with the reply's own Date, so that
// differing clocks do not matter; if that is missing, it uses now.
func Read(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	clamp := func(d time.Duration) time.Duration { return min(max(d, Min), Max) }
	if n, err := strconv.ParseFloat(value, 64); err == nil && n == n { // NaN is not equal to itself
		return clamp(wait(n, now))
	}
	if d, err := time.ParseDuration(strings.ReplaceAll(value, " ", "")); err == nil {
		return clamp(d)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		at, err = time.Parse(time.RFC3339, value)
	}
	if err != nil {
		return 0
	}
	return clamp(at.Sub(now))
}

// firstInstant is the first number that is an instant, in 2001: as a wait it would be 30
// years.
const firstInstant = 1e9

// wait returns the wait that a number means: until an instant since 1970 in seconds or
// in a part of them, milliseconds if it would be longer than [Max] and no number of
// days, else seconds.
func wait(n float64, now time.Time) time.Duration {
	if n > firstInstant && n < firstInstant*1e12 {
		for n >= 100*firstInstant {
			n /= 1000
		}
		if at := time.Unix(int64(n), 0); at.Sub(now).Abs() < 365*24*time.Hour {
			return at.Sub(now)
		}
		return Max
	}
	seconds := min(max(n, 0), firstInstant)
	if seconds > Max.Seconds() && math.Mod(seconds, 1000) == 0 && math.Mod(seconds, Max.Seconds()) != 0 {
		seconds /= 1000
	}
	return time.Duration(seconds * float64(time.Second))
}
