package netguard_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/perennial-oauth/perennial/internal/netguard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forms has each way to write an IPv4 address as an IPv6 address.
var forms = map[string]func(v4 [4]byte) [16]byte{
	"IPv4-mapped":     at("::ffff:0:0", 12, 13, 14, 15),
	"IPv4-compatible": at("::", 12, 13, 14, 15),
	"translated":      at("::ffff:0:0:0", 12, 13, 14, 15),
	"NAT64":           at("64:ff9b::", 12, 13, 14, 15),
	"local NAT64, 48": at("64:ff9b:1::", 6, 7, 9, 10),
	"local NAT64, 56": at("64:ff9b:1:ab00::", 7, 9, 10, 11),
	"local NAT64, 64": at("64:ff9b:1:abcd::", 9, 10, 11, 12),
	"local NAT64, 96": at("64:ff9b:1:abcd:0:1234::", 12, 13, 14, 15),
	"6to4":            at("2002::", 2, 3, 4, 5),
	"6to4, a host":    at("2002::1:2:3:4", 2, 3, 4, 5),
	"Teredo's server": at("2001::8000:0:0:0", 4, 5, 6, 7),
	"Teredo's client": func(v4 [4]byte) [16]byte {
		for i := range v4 {
			v4[i] = ^v4[i]
		}
		return at("2001:0:808:808::", 12, 13, 14, 15)(v4)
	},
	"ISATAP":         at("2606:2800:220:1:0:5efe::", 12, 13, 14, 15),
	"ISATAP, global": at("2606:2800:220:1:200:5efe::", 12, 13, 14, 15),
}

func at(prefix string, places ...int) func(v4 [4]byte) [16]byte {
	return func(v4 [4]byte) [16]byte {
		b := netip.MustParseAddr(prefix).As16()
		for i, place := range places {
			b[place] = v4[i]
		}
		return b
	}
}

// FuzzForbidden: a link-local IPv4 address, or one of a metadata service, is
// forbidden in every form of IPv6 that carries it.
func FuzzForbidden(f *testing.F) {
	for _, seed := range []string{"169.254.169.254", "169.254.0.1", "169.254.255.255", "168.63.129.16", "100.100.100.200", "192.0.0.192", "8.8.8.8", "10.0.0.1", "127.0.0.1"} {
		f.Add(binary.BigEndian.Uint32(netip.MustParseAddr(seed).AsSlice()))
	}
	metadata := netguard.Prefixes("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32")
	f.Fuzz(func(t *testing.T, n uint32) {
		var v4 [4]byte
		binary.BigEndian.PutUint32(v4[:], n)
		ip := netip.AddrFrom4(v4)
		if !netguard.Within(metadata, ip) {
			v4[0], v4[1] = 169, 254 // most inputs of the fuzzer are not in these ranges: move them there
			ip = netip.AddrFrom4(v4)
		}
		require.True(t, netguard.Forbidden(ip), "%s", ip)
		for name, form := range forms {
			v6 := netip.AddrFrom16(form(v4))
			require.True(t, netguard.Forbidden(v6), "%s of %s: %s", name, ip, v6)
			require.Error(t, netguard.Control("tcp6", netip.AddrPortFrom(v6, 80).String(), nil))
		}
	})
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": false, "10.0.0.1": false, "127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "64:ff9b::808:808": false, "64:ff9b:1::1": false,
		"fd00::1": false, "2606:2800:220:1::1": false, "2002:808:808::1": false, "2001:0:808:808:0:0:f7f7:f7f7": false,
		"0.0.0.0": true, "::": true, "255.255.255.255": true, "224.0.0.1": true, "ff02::1": true, "fe80::1": true, "fe80::1%eth0": true,
		"fd00:ec2::254": true, "fd20:ce::254": true, "2606:2800:220:64::a9fe:a9fe": true, "64:ff9b::": true,
	} {
		assert.Equal(t, want, netguard.Forbidden(netip.MustParseAddr(address)), address)
	}
	assert.True(t, netguard.Forbidden(netip.Addr{}))
	assert.Error(t, netguard.Control("tcp", "not an address", nil))
	assert.NoError(t, netguard.Control("unix", "/run/x.sock", nil))
}
