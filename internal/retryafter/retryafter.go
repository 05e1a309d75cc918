// Package retryafter reads the Retry-After header (RFC 9110 section 10.2.3).
package retryafter

import (
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
// header is missing or cannot be read. The header is a number of seconds or a date.
// Read compares a date with the reply's own Date, so that differing clocks do not
// matter; if that is missing, it uses now.
func Read(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	clamp := func(d time.Duration) time.Duration { return min(max(d, Min), Max) }
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds == seconds { // NaN is not equal to itself
		return clamp(time.Duration(min(max(seconds, 0), Max.Seconds()) * float64(time.Second)))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return clamp(at.Sub(now))
}
