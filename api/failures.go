package api

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mostAddresses bounds how many addresses are counted one by one.
const mostAddresses = 10_000

// failures counts the keys that were not valid, by the address that they came from.
// It only ever turns a refusal into another one: a valid key is let through whatever
// its address has done, so nobody can lock out others behind the same NAT. For that
// reason the peer's own address is enough also behind a proxy, and no header that
// anybody may write is read. It is safe for concurrent use.
type failures struct {
	perMinute int

	mu      sync.Mutex
	of      map[netip.Prefix]*counted
	others  *counted // is shared by those that came when the table was full
	sweptAt time.Time
}

type counted struct {
	*rate.Limiter
	told time.Time // when the log was told last
}

func newFailures(perMinute int) *failures {
	f := &failures{perMinute: perMinute, of: map[netip.Prefix]*counted{}}
	f.others = f.start()
	return f
}

func (f *failures) start() *counted {
	return &counted{Limiter: rate.NewLimiter(rate.Limit(float64(f.perMinute)/60), f.perMinute)}
}

// add counts a failure. Where it is one too many it says how long to wait, and once
// a minute that the log should be told.
func (f *failures) add(from netip.Prefix, now time.Time) (wait time.Duration, tell, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.find(from, now)
	if c.AllowN(now, 1) {
		return 0, false, true
	}
	if now.Sub(c.told) >= time.Minute {
		c.told, tell = now, true
	}
	missing := 1 - c.TokensAt(now)
	return time.Duration(missing / float64(c.Limit()) * float64(time.Second)), tell, false
}

func (f *failures) find(from netip.Prefix, now time.Time) *counted {
	if c := f.of[from]; c != nil {
		return c
	}
	if len(f.of) >= mostAddresses && now.Sub(f.sweptAt) >= time.Minute { // within one a quiet address has all its tries again
		f.sweptAt = now
		for at, c := range f.of {
			if c.TokensAt(now) >= float64(c.Burst()) {
				delete(f.of, at)
			}
		}
	}
	if len(f.of) >= mostAddresses {
		return f.others
	}
	c := f.start()
	f.of[from] = c
	return c
}

// peer is whose address a connection has: of IPv6 the /64 that one customer is
// given. What is no address, as of a Unix socket, is the zero value.
func peer(remote string) netip.Prefix {
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
