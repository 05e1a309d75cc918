// Package guard bounds how many invalid secrets one client address may present: API
// keys, or links of connect pages. It counts each request before anything is looked up,
// and takes the count back if the secret is valid. So it bounds the look-ups of
// guesses, not the requests of honest clients.
package guard

import (
	"net/netip"
	"sync"
	"time"
)

// maxAddresses bounds how many addresses have a count of their own.
const maxAddresses = 10_000

// Failures counts failures by client address. Even behind a proxy it uses the peer's
// own address, and no header, because anybody may write a header. Callers accept a
// valid secret whatever its address has done, so nobody can lock out others behind the
// same NAT or proxy. It is safe for concurrent use.
type Failures struct {
	perMinute float64

	mu      sync.Mutex
	of      map[netip.Prefix]*count
	others  *count // shared by the addresses that came when the table was full
	sweptAt time.Time
}

// count has the failures that an address may still make.
type count struct {
	left   float64
	at     time.Time
	toldAt time.Time // when a caller was last told to log
}

// New returns a count that allows each address perMinute failures a minute.
func New(perMinute int) *Failures {
	return &Failures{perMinute: float64(perMinute), of: map[netip.Prefix]*count{}, others: &count{left: float64(perMinute)}}
}

// Try is one request in progress. Only one goroutine may use it.
type Try struct {
	From     netip.Prefix
	failures *Failures
	now      time.Time
	reserved bool
	asked    bool
}

// Try begins a request from an address.
func (f *Failures) Try(from netip.Prefix, now time.Time) *Try {
	return &Try{From: from, failures: f, now: now}
}

// Reserve counts one failure in advance, before a look-up. It returns false if the
// address may make none.
func (t *Try) Reserve() bool {
	if t.asked {
		return t.reserved
	}
	t.failures.mu.Lock()
	defer t.failures.mu.Unlock()
	t.asked, t.reserved = true, t.failures.take(t.failures.find(t.From, t.now), t.now)
	return t.reserved
}

// Release takes a reserved failure back, because the secret is valid.
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

// Failed counts a failure unless Reserve has counted it. If the address has no failure
// left, ok is false and wait is how long the client must wait; tell is true once a
// minute, for the log.
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

// take counts one failure. It returns false if none is left.
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
	if len(f.of) >= maxAddresses && now.Sub(f.sweptAt) >= time.Minute { // after a minute without failures an address has its full count again
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

// Client returns the address of a peer from [http.Request.RemoteAddr]. For IPv6 it is
// the /64, which one customer has. If remote is no address, as for a Unix socket, it is
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
	p, _ := ip.Prefix(bits) // it fails only for more bits than the address has
	return p
}
