package notify

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/perennial-oauth/perennial"
)

// Addresses says where messages may go. An endpoint's URL is a customer's text:
// without this they could have the worker call the machines around it (SSRF).
type Addresses struct {
	// AllowPrivate allows this machine, private networks and plain http. The
	// metadata services of clouds, link-local and multicast addresses stay refused.
	AllowPrivate bool
	// Resolver finds a name's addresses at registration. Defaults to the system's.
	Resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
}

// never lists what no configuration allows: the metadata services of clouds, and
// what is no single machine's address. Of link-local addresses it has all.
var never = prefixes("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "fe80::/10", "fec0::/10", "ff00::/8",
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure
	"192.0.0.192/32",     // Oracle's older one
	"fd00:ec2::/32",      // AWS: ::254, and ::23 of its containers
	"fd20:ce::254/128",   // Google
)

// private lists what is not of the public Internet (IANA's registries of special
// purpose addresses) and what carries another address inside.
var private = prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var (
	publicIPv6 = netip.MustParsePrefix("2000::/3") // all that is given out
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
)

func prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// check refuses an address that no message may go to.
func (a Addresses) check(ip netip.Addr) error {
	if !ip.IsValid() || ip.Zone() != "" {
		return errPrivate
	}
	ip = ip.Unmap() // ::ffff:127.0.0.1 is 127.0.0.1
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	if within(never, ip) || !a.AllowPrivate && (within(private, ip) || ip.Is6() && !publicIPv6.Contains(ip)) {
		return errPrivate
	}
	return nil
}

func within(ps []netip.Prefix, ip netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Control implements [net.Dialer.Control]: it sees the address that is dialed,
// whatever a name resolved to before.
func (a Addresses) Control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errPrivate
	}
	return a.check(to.Addr())
}

// CheckURL refuses, at registration, a URL that no message can or may go to. The
// address is checked again whenever it is dialed. The error does not repeat the
// URL: it may hold a password.
func (a Addresses) CheckURL(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || len(raw) > 2000:
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
