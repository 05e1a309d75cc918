// Package retryafter reads the header of RFC 9110 section 10.2.3.
package retryafter

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The bounds of what is believed.
const (
	Min = time.Second
	Max = 24 * time.Hour
)

// Read returns for how long a reply asks to be left alone, within the bounds; 0
// where it does not say so readably. The header is a number of seconds, or a date,
// which is compared with the reply's own Date so that clocks that differ do not
// matter; now stands in for one that is missing.
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
