// Package netguard says which addresses no request may go to, whatever the
// configuration allows: the metadata services of clouds, and addresses that name no
// single machine. It also says which addresses are public, for requests whose target
// somebody else has named. It checks every form in which an IPv6 address carries an IPv4
// address.
package netguard

import (
	"errors"
	"net/netip"
	"syscall"
)

// ErrForbidden is the error of an address that no configuration allows.
var ErrForbidden = errors.New("the address is link-local, a cloud's metadata service, or not one machine's: no request goes there")

// metadata lists the metadata services of clouds and all link-local addresses.
var metadata = Prefixes("169.254.0.0/16", "fe80::/10", "fec0::/10",
	"100.100.100.200/32", // Alibaba
	"168.63.129.16/32",   // Azure
	"192.0.0.192/32",     // Oracle's older one
	"fd00:ec2::/32",      // AWS: ::254, and ::23 of its containers
	"fd20:ce::254/128",   // Google
)

// nobody lists the addresses that name no single machine.
var nobody = Prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")

// Prefixes parses prefixes. It panics if one is invalid.
func Prefixes(all ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// Within reports whether one of ps contains ip.
func Within(ps []netip.Prefix, ip netip.Addr) bool {
	for _, p := range ps {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Forbidden reports whether no request may go to ip, whatever the configuration says.
// An address with a zone is link-local.
func Forbidden(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" {
		return true
	}
	ip = Target(ip)
	if Within(nobody, ip) || Within(metadata, ip) {
		return true
	}
	for _, v4 := range Embedded(ip) {
		if Within(metadata, v4) {
			return true
		}
	}
	return false
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Target returns the IPv4 address that ip stands for: ::ffff:127.0.0.1 (IPv4-mapped)
// and 64:ff9b::7f00:1 (NAT64, RFC 6052). It returns any other ip unchanged.
func Target(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap(); nat64.Contains(ip) {
		return v4At(ip.As16(), 12, 13, 14, 15)
	}
	return ip
}

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, SIIT
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// Embedded returns the IPv4 addresses that an IPv6 address may carry. Where the
// position depends on the length of an unknown prefix, it returns the address at each
// possible position.
func Embedded(ip netip.Addr) []netip.Addr {
	if !ip.Is6() {
		return nil
	}
	b := ip.As16()
	last := v4At(b, 12, 13, 14, 15)
	// A network may have its own NAT64 prefix. If the prefix has 96 bits, as usual, the
	// IPv4 address is at the end. RFC 6052 section 2.2 has the other positions.
	all := []netip.Addr{last, v4At(b, 4, 5, 6, 7), v4At(b, 5, 6, 7, 9), v4At(b, 6, 7, 9, 10), v4At(b, 7, 9, 10, 11), v4At(b, 9, 10, 11, 12)}
	var out []netip.Addr
	switch {
	case compatible.Contains(ip), translated.Contains(ip):
		return []netip.Addr{last}
	case localNAT64.Contains(ip):
		return all
	case sixToFour.Contains(ip):
		out = append(out, v4At(b, 2, 3, 4, 5))
	case teredo.Contains(ip):
		out = append(out, v4At(b, 4, 5, 6, 7), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe { // ISATAP, RFC 5214
		out = append(out, last)
	}
	for _, v4 := range all {
		if v4 == instanceMetadata {
			out = append(out, v4)
		}
	}
	return out
}

// instanceMetadata is the metadata address of most clouds. One IPv6 address in four
// billion contains it by chance.
var instanceMetadata = netip.MustParseAddr("169.254.169.254")

func v4At(b [16]byte, w, x, y, z int) netip.Addr {
	return netip.AddrFrom4([4]byte{b[w], b[x], b[y], b[z]})
}

// private lists the addresses outside the public Internet (IANA's registries of special
// purpose addresses) and those that contain another address.
var private = Prefixes("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var publicIPv6 = netip.MustParsePrefix("2000::/3") // all addresses in use

// Public reports whether ip is an address of the public Internet that carries no private
// one.
func Public(ip netip.Addr) bool {
	if Forbidden(ip) {
		return false
	}
	if ip = Target(ip); Within(private, ip) || ip.Is6() && !publicIPv6.Contains(ip) {
		return false
	}
	for _, v4 := range Embedded(ip) {
		if Within(private, v4) {
			return false
		}
	}
	return true
}

// ErrNotPublic is the error of an address outside the public Internet.
var ErrNotPublic = errors.New("the address is not public")

// PublicControl implements [net.Dialer.Control]. It refuses every address that is not
// public when it is dialed, whatever the name resolved to before.
func PublicControl(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !Public(to.Addr()) {
		return ErrNotPublic
	}
	return nil
}

// Control implements [net.Dialer.Control]. It refuses a forbidden address when it is
// dialed, whatever the name resolved to before.
func Control(network, address string, _ syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil || Forbidden(to.Addr()) {
		return ErrForbidden
	}
	return nil
}
