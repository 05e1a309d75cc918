package guard_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/internal/guard"
	"github.com/stretchr/testify/assert"
)

// TestGuessingFromANetwork: an IPv6 network that one customer has counts as one
// address.
func TestGuessingFromANetwork(t *testing.T) {
	t.Parallel()
	f, now := guard.New(2), time.Now()
	add := func(remote string) bool { _, _, ok := f.Try(guard.Client(remote), now).Failed(); return ok }
	assert.True(t, add("[2001:db8:1:2::1]:1"))
	assert.True(t, add("[2001:db8:1:2::2]:1"))
	assert.False(t, add("[2001:db8:1:2:ffff::3]:1"))
	assert.False(t, add("[2001:db8:1:2::4%eth0]:1"))
	assert.True(t, add("[2001:db8:1:3::1]:1"))
	assert.Equal(t, netip.MustParsePrefix("192.0.2.1/32"), guard.Client("192.0.2.1:443"))
	assert.Zero(t, guard.Client("planted"))
}

// TestGuessingFromEverywhere: the table of addresses is bounded. Addresses that come
// when it is full share one count, and no count is forgotten too early.
func TestGuessingFromEverywhere(t *testing.T) {
	t.Parallel()
	f, now := guard.New(2), time.Now()
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	add := func(i int) bool { _, _, ok := f.Try(at(i), now).Failed(); return ok }
	assert.True(t, add(0))
	assert.True(t, add(0))
	assert.False(t, add(0))
	for i := range guard.MaxAddresses + 1000 {
		add(i + 1)
	}
	assert.Equal(t, guard.MaxAddresses, f.Len())
	assert.False(t, add(0), "still over")
	assert.False(t, add(1<<20), "the count of all others is used up")

	now = now.Add(59 * time.Second) // after 30 s one try is back, after 60 s both
	assert.True(t, add(0))
	now = now.Add(time.Second)
	assert.True(t, add(1<<20))
	assert.Equal(t, 2, f.Len(), "the quiet ones are forgotten")
	assert.True(t, add(1<<20))
	assert.False(t, add(1<<20), "counted by itself again")
}

// TestReserve: valid secrets cost nothing, however many requests run at once, and no
// more secrets are looked up than may fail.
func TestReserve(t *testing.T) {
	t.Parallel()
	f, now, from := guard.New(2), time.Now(), guard.Client("192.0.2.1:1")
	one, two, three := f.Try(from, now), f.Try(from, now), f.Try(from, now)
	assert.True(t, one.Reserve())
	assert.True(t, two.Reserve())
	assert.True(t, two.Reserve(), "the same one")
	assert.False(t, three.Reserve())
	one.Release()
	one.Release()
	_, _, ok := two.Failed()
	assert.True(t, ok)
	four, five := f.Try(from, now), f.Try(from, now)
	assert.True(t, four.Reserve())
	assert.False(t, five.Reserve())
	wait, tell, ok := five.Failed()
	assert.Equal(t, 30*time.Second, wait)
	assert.True(t, tell)
	assert.False(t, ok)
	_, tell, _ = five.Failed()
	assert.False(t, tell, "once a minute")
	for range 10 {
		four.Release()
	}
	assert.True(t, f.Try(from, now).Reserve())
	assert.False(t, f.Try(from, now).Reserve())
}
