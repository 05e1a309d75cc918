// Package guard bounds how often one client address may present what turns out not
// to be valid: an API key, or the link of a connect page. The count is taken before
// anything is looked up and given back if it was valid, so it bounds the look-ups
// of guesses and not the requests of those who guess nothing.
package guard

import (
	"net/netip"
	"sync"
	"time"
)

// maxAddresses bounds how many addresses are counted one by one.
const maxAddresses = 10_000

// Failures counts failures by client address. The peer's own address is used also
// behind a proxy, and no header that anybody may write: callers let what is valid
// through whatever its address has done, so nobody can lock out others behind the
// same NAT or proxy. It is safe for concurrent use.
type Failures struct {
	perMinute float64

	mu      sync.Mutex
	of      map[netip.Prefix]*count
	others  *count // is shared by those that came when the table was full
	sweptAt time.Time
}

// count holds the failures that an address has left.
type count struct {
	left   float64
	at     time.Time
	toldAt time.Time // when the log was told last
}

// New counts perMinute failures a minute for each address.
func New(perMinute int) *Failures {
	return &Failures{perMinute: float64(perMinute), of: map[netip.Prefix]*count{}, others: &count{left: float64(perMinute)}}
}

// Try is one request on its way. It is used by one goroutine.
type Try struct {
	From     netip.Prefix
	failures *Failures
	now      time.Time
	reserved bool
	asked    bool
}

// Try begins a request of an address.
func (f *Failures) Try(from netip.Prefix, now time.Time) *Try {
	return &Try{From: from, failures: f, now: now}
}

// Reserve takes one failure in advance, before a look-up. It is false if the
// address has none left.
func (t *Try) Reserve() bool {
	if t.asked {
		return t.reserved
	}
	t.failures.mu.Lock()
	defer t.failures.mu.Unlock()
	t.asked, t.reserved = true, t.failures.take(t.failures.find(t.From, t.now), t.now)
	return t.reserved
}

// Release gives a reserved failure back: what was presented is valid.
func (t *Try) Release() {
	if !t.reserved {
		return
	}
	t.reserved = false
	t.failures.mu.Lock()
	defer t.failures.mu.Unlock()
	c := t.failures.find(t.From, t.now)
	c.left = min(c.left+1, t.failures.perMinute)
}

// Failed counts a failure, unless it was reserved. If it is one too many it says
// how long to wait, and once a minute that the log should be told.
func (t *Try) Failed() (wait time.Duration, tell, ok bool) {
	if t.Reserve() {
		return 0, false, true
	}
	f := t.failures
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.find(t.From, t.now)
	if t.now.Sub(c.toldAt) >= time.Minute {
		c.toldAt, tell = t.now, true
	}
	return time.Duration((1 - c.left) / f.perMinute * float64(time.Minute)), tell, false
}

// take is false if nothing is left.
func (f *Failures) take(c *count, now time.Time) bool {
	f.refill(c, now)
	if c.left < 1 {
		return false
	}
	c.left--
	return true
}

func (f *Failures) refill(c *count, now time.Time) {
	if passed := now.Sub(c.at); passed > 0 {
		c.left = min(f.perMinute, c.left+passed.Minutes()*f.perMinute)
		c.at = now
	}
}

func (f *Failures) find(from netip.Prefix, now time.Time) *count {
	if c := f.of[from]; c != nil {
		return c
	}
	if len(f.of) >= maxAddresses && now.Sub(f.sweptAt) >= time.Minute { // within one a quiet address has all its tries again
		f.sweptAt = now
		for at, c := range f.of {
			if f.refill(c, now); c.left >= f.perMinute {
				delete(f.of, at)
			}
		}
	}
	if len(f.of) >= maxAddresses {
		return f.others
	}
	c := &count{left: f.perMinute, at: now}
	f.of[from] = c
	return c
}

// Client returns the address of a peer, as of [http.Request.RemoteAddr]: of IPv6
// the /64 that one customer is given. What is no address, as of a Unix socket, is
// the zero value.
func Client(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits) // it fails only for bits that an address has not
	return p
}
