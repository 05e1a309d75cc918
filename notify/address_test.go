package notify

import (
	"context"
	"net/netip"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	const public, private, never = 0, 1, 2
	for address, kind := range map[string]int{
		"93.184.216.34": public, "8.8.8.8": public, "172.32.0.1": public, "2606:2800:220:1::1": public,
		"::ffff:8.8.8.8": public, "64:ff9b::808:808": public,
		"127.0.0.1": private, "127.9.9.9": private, "::1": private, "10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private,
		"192.168.1.1": private, "100.64.0.1": private, "192.0.2.1": private, "198.18.0.1": private, "203.0.113.9": private,
		"fd00::1": private, "fc00::1": private, "2001:db8::1": private, "2002:7f00:1::": private, "2001::1": private, "4000::1": private,
		"::ffff:127.0.0.1": private, "::ffff:10.1.2.3": private, "::127.0.0.1": private, "64:ff9b::7f00:1": private, "64:ff9b:1::1": private,
		"169.254.169.254": never, "::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never, "169.254.1.1": never, "100.100.100.200": never,
		"168.63.129.16": never, "fd00:ec2::254": never, "fd00:ec2::23": never, "fd20:ce::254": never, "192.0.0.192": never, "192.0.0.8": private, "fe80::1": never, "fe80::1%eth0": never, "0.0.0.0": never, "0.1.2.3": never, "::": never,
		"224.0.0.1": never, "255.255.255.255": never, "ff02::1": never,
		"::a9fe:a9fe": never, "2002:a9fe:a9fe::": never, "2002:a9fe:a9fe::1": never, "::ffff:0:a9fe:a9fe": never, // IPv4-compatible, 6to4, translated
		"64:ff9b:1::a9fe:a9fe": never, "64:ff9b:1:a9fe:a9:fe00::": never, "64:ff9b:1:12a9:fe:a9fe::": never, "64:ff9b:1:1234:a9:fea9:fe00::": never, // RFC 8215, RFC 6052
		"2001:0:a9fe:a9fe::1": never, "2001:0:808:808:0:0:5601:5601": never, // Teredo: its server, its client
		"2606:2800:220:1:0:5efe:a9fe:a9fe": never, "2606:2800:220:1:200:5efe:a9fe:101": never, // ISATAP
		"2606:2800:220:64::a9fe:a9fe": never, "::6464:64c8": never, "2002:a83f:8110::1": never, "64:ff9b::c000:c0": never,
		"2606:2800:220:1:0:5efe:a00:1": private, "::10.0.0.1": private, "2606:2800:220:1:0:5efe:808:808": public,
	} {
		ip := netip.MustParseAddr(address)
		require.Equal(t, kind == public, Addresses{}.check(ip) == nil, "%s", address)
		require.Equal(t, kind != never, Addresses{AllowPrivate: true}.check(ip) == nil, "%s where private ones are allowed", address)
		dialed := netip.AddrPortFrom(ip, 443).String()
		require.Equal(t, kind == public, Addresses{}.Control("tcp", dialed, nil) == nil, "dialing %s", dialed)
	}
	require.Error(t, Addresses{AllowPrivate: true}.Control("tcp", "not an address", nil))
	require.Error(t, Addresses{AllowPrivate: true}.check(netip.Addr{}))
}

type names map[string]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	if a, ok := n[host]; ok {
		out = append(out, netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr(a))
	}
	return out, nil
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	resolver := names{"good.example": "9.9.9.9", "mixed.example": "10.0.0.1", "metadata.example": "169.254.169.254", "localhost": "127.0.0.1"}
	for _, c := range []struct {
		url            string
		plain, lenient bool // usable: by default; if private ones are allowed
	}{
		{"https://good.example/hook", true, true},
		{"https://good.example:8443/hook?a=b", true, true},
		{"https://8.8.8.8/", true, true},
		{"http://good.example/hook", false, true},
		{"https://mixed.example/", false, true},
		{"https://localhost/", false, true},
		{"https://127.0.0.1/", false, true},
		{"https://[::1]/", false, true},
		{"https://[::ffff:127.0.0.1]/", false, true},
		{"https://metadata.example/", false, false},
		{"https://169.254.169.254/latest/meta-data", false, false},
		{"https://[::ffff:169.254.169.254]/", false, false},
		{"https://unknown.example/", false, false},
		{"https://2130706433/", false, false}, // 127.0.0.1 as a number: neither a name nor an address
		{"https://0x7f.1/", false, false},
		{"https://user:planted@good.example/", false, false},
		{"https://good.example/#planted", false, false},
		{"ftp://good.example/planted", false, false},
		{"file:///etc/planted", false, false},
		{"https:///planted", false, false},
		{"https:good.example/planted", false, false},
		{"good.example/planted", false, false},
		{"https://good.example/\x00planted", false, false},
		{"", false, false},
	} {
		for _, allowed := range []bool{false, true} {
			err := Addresses{AllowPrivate: allowed, Resolver: resolver}.CheckURL(t.Context(), c.url)
			if want := map[bool]bool{false: c.plain, true: c.lenient}[allowed]; want {
				require.NoError(t, err, c.url)
				continue
			}
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "%q", c.url)
			require.NotContains(t, err.Error(), "planted")
		}
	}
}
