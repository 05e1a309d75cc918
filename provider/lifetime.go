package provider

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The members in which providers were seen to send the lifetimes of a token set: as
// seconds, as milliseconds, as a duration in words, or as an instant. If several are
// there, the shortest lifetime counts.
var (
	accessLifetimes = []string{"expires_in", "expires_in_sec", "expires_in_seconds", "expires_in_ms", "expire_in", "expires_at", "expires_on", "expires", "expiry", "expiration",
		"access_token_expires_in", "access_token_expire_in", "access_token_expires_at", "access_token_expiry", "token_expires_in", "token_expires_at"}
	refreshLifetimes = []string{"refresh_token_expires_in", "refresh_token_expire_in", "refresh_token_expires_at", "refresh_token_expiry", "refresh_token_timeout",
		"refresh_expires_in", "refresh_expires_at", "x_refresh_token_expires_in"}
	grantLifetimes = []string{"x_refresh_token_hard_expires_in", "authorization_expires_in"}
)

const (
	// maxLifetime is the longest lifetime that a number may mean: a larger one is in
	// another unit, or no lifetime.
	maxLifetime = 11 * 365 * day
	// maxAccessLifetime is the longest life, in seconds, that an access token is
	// believed to have without the catalogue's word. No documented one is longer.
	maxAccessLifetime = 400 * day
	// Two lifetimes of one token differ by less than these factors, unless one of them
	// is in milliseconds.
	minMilli, maxMilli = 300, 3000
)

// lifetimes reads the lifetimes of one kind of token. Every reading that is in doubt
// takes the shorter lifetime: it costs a refresh that comes earlier.
type lifetimes struct {
	usual time.Duration // the catalogue's, zero if unknown
	unit  time.Duration // of plain numbers; zero: seconds, unless they are too large
	last  time.Duration // the longest believable one in seconds
	sent  time.Time     // of the request; zero: instants cannot be read
	date  time.Time     // of the reply, by the provider's clock; zero if unknown
}

// shortest returns the shortest lifetime that the named members have, zero for none.
func (l lifetimes) shortest(members map[string]any, names []string) time.Duration {
	var shortest time.Duration
	for _, name := range names {
		shortest = shorter(shortest, l.member(name, text(members[name])))
	}
	return shortest
}

// shorter returns the shorter of two lifetimes. Zero is none.
func shorter(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return max(b, 0)
	}
	return a
}

func (l lifetimes) member(name, value string) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0
	}
	if strings.HasSuffix(name, "_ms") {
		l.unit = time.Millisecond
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil {
		return l.number(n)
	}
	if d, ok := spelledDuration(value); ok {
		return d
	}
	if at, ok := dateOf(value); ok {
		return l.until(at)
	}
	return 0
}

// number reads a number: seconds, milliseconds, or an instant since 1970.
func (l lifetimes) number(n float64) time.Duration {
	if math.IsNaN(n) || n <= 0 {
		return 0
	}
	seconds, millis := times(n, time.Second), times(n, time.Millisecond)
	at, instant := epoch(n)
	switch factor := n / l.usual.Seconds(); {
	case l.unit > 0 && times(n, l.unit) > 0:
		return times(n, l.unit)
	case instant && l.near(at):
		if left := l.until(at); left <= time.Second {
			return left
		}
		return shorter(l.until(at), millis)
	case seconds == 0, l.usual > 0 && factor > minMilli && factor < maxMilli, l.usual == 0 && l.last > 0 && seconds > l.last:
		return millis
	}
	return seconds
}

// times returns n units, or zero if no token lives so long.
func times(n float64, unit time.Duration) time.Duration {
	if n > float64(maxLifetime)/float64(unit) {
		return 0
	}
	return time.Duration(n * float64(unit))
}

// near reports whether an instant may be meant by a number: it lies within ten years of
// the request.
func (l lifetimes) near(at time.Time) bool {
	return l.sent.IsZero() || at.Sub(l.sent).Abs() <= maxLifetime
}

// recent is how long ago an access token may have ended whose reply has just come: the
// provider repeats an old reply. An earlier end means that there is none.
const recent = day

// until returns the lifetime that ends at an instant. The provider's own clock tells how
// far that is, if the reply has its time and ours does not say less. A lifetime that has
// just ended is a second, so that the token is renewed at once.
func (l lifetimes) until(at time.Time) time.Duration {
	var left time.Duration
	for _, from := range []time.Time{l.sent, l.date} {
		if d := at.Sub(from); !from.IsZero() && d <= maxLifetime {
			left = shorter(left, d)
		}
	}
	if ago := l.sent.Sub(at); left == 0 && !l.sent.IsZero() && 0 <= ago && ago < recent {
		return time.Second
	}
	return left
}

// epoch reads an instant as the time since 1970 in seconds, or in a thousandth, a
// millionth or a billionth of them. Numbers that would be before 2001 are none.
func epoch(n float64) (time.Time, bool) {
	for range 4 {
		if n >= 1e9 && n < 1e11 {
			seconds, part := math.Modf(n)
			return time.Unix(int64(seconds), int64(part*1e9)), true
		}
		n /= 1000
	}
	return time.Time{}, false
}

// dateOf reads an instant as a date: RFC 3339, or as in HTTP.
func dateOf(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, time.RFC1123Z} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	at, err := http.ParseTime(s)
	return at, err == nil
}

// unitOf has the units of durations in words.
var unitOf = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "sec": time.Second, "second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": day, "day": day,
}

// spelledDuration reads a duration in words: "1h", "1h30m", "60 minutes", "7d".
func spelledDuration(s string) (time.Duration, bool) {
	if d, err := time.ParseDuration(s); err == nil {
		return max(d, 0), true
	}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	word := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	n, err := strconv.ParseFloat(digits, 64)
	unit := unitOf[word]
	if unit == 0 {
		unit = unitOf[strings.TrimSuffix(word, "s")]
	}
	if err != nil || unit == 0 || math.IsNaN(n) || n < 0 {
		return 0, false
	}
	return times(n, unit), true
}
