package notify

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/perennial-oauth/perennial/internal/printable"
)

// Addresses decides where messages may go. A customer chooses an endpoint's URL, and
// could otherwise make the worker call the machines around it (SSRF).
type Addresses struct {
	// AllowPrivate allows this machine, private networks and plain http. The metadata
	// services of clouds, link-local and multicast addresses stay refused.
	AllowPrivate bool
	// Resolver finds a name's addresses at registration. Defaults to the system's.
	Resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
}

// check refuses an address to which no message may go.
func (a Addresses) check(ip netip.Addr) error {
	if netguard.Forbidden(ip) || !a.AllowPrivate && !netguard.Public(ip) {
		return errPrivate
	}
	return nil
}

// Control implements [net.Dialer.Control]. It sees the address that is really dialed,
// whatever a name resolved to before.
func (a Addresses) Control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	return a.check(to.Addr())
}

// CheckURL refuses, at registration, a URL to which no message can or may go. The
// address is checked again at each dial. The error does not repeat the URL, which may
// have a password in it.
func (a Addresses) CheckURL(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || len(raw) > 2000 || !printable.Is(raw):
		return perennial.Errorf(perennial.CodeInvalid, "the endpoint is not a whole URL: it must begin with https://")
	case u.User != nil || u.Fragment != "":
		return perennial.Errorf(perennial.CodeInvalid, "the endpoint's URL must not hold credentials or a fragment")
	case u.Scheme != "https" && (u.Scheme != "http" || !a.AllowPrivate):
		return perennial.Errorf(perennial.CodeInvalid, "the endpoint's URL must begin with https://")
	}
	addresses, err := a.lookup(ctx, u.Hostname())
	if err != nil || len(addresses) == 0 {
		return perennial.Errorf(perennial.CodeInvalid, "the endpoint's name %q does not resolve", u.Hostname())
	}
	for _, ip := range addresses {
		if err := a.check(ip); err != nil {
			return perennial.Errorf(perennial.CodeInvalid, "the endpoint's name %q stands for the address %s, which is not public: an operator can allow private ones in the configuration (notify: allow_private)", u.Hostname(), ip)
		}
	}
	return nil
}

func (a Addresses) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if a.Resolver != nil {
		return a.Resolver.LookupNetIP(ctx, "ip", host)
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("resolve: %w", err)
	}
	return found, nil
}
