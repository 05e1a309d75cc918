package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGuessing: whoever guesses keys is told to wait, by their address alone and
// whatever headers say; a valid key from the same address is let through all along.
func TestGuessing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Now, c.Failures = clock.now, 6 })
	k, key := w.Key("acme", perennial.ScopeTokensRead)
	_, fresh := w.Key("acme", perennial.ScopeTokensRead) // not in memory when the address is over its limit
	_, narrow := w.Key("acme", "nothing:known")
	guess := k.ID + "_" + strings.Repeat("0", 64)
	forged := 0
	ask := func(from, key string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/v1/connections", nil)
		r.RemoteAddr = from
		forged++
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Cf-Connecting-Ip", "True-Client-Ip"} {
			r.Header.Set(name, "198.51.100."+strconv.Itoa(forged))
		}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		answer := httptest.NewRecorder()
		w.API.ServeHTTP(answer, r)
		return answer
	}
	const nat = "203.0.113.7:"
	for i := range 6 {
		p := problemIn(t, ask(nat+strconv.Itoa(1000+i), guess))
		require.Equal(t, perennial.Code("unauthorized"), p.Code, "failure %d", i+1)
	}
	for _, wrong := range []string{guess, "x", "pk_0011223344556677_" + strings.Repeat("0", 64)} {
		answer := ask(nat+"2000", wrong)
		p := problemIn(t, answer)
		assert.Equal(t, 429, answer.Code)
		assert.Equal(t, perennial.Code("rate_limited"), p.Code)
		assert.Equal(t, "10", answer.Header().Get("Retry-After"))
	}
	assert.Equal(t, 200, ask(nat+"3000", key).Code, "a valid key of the same address")
	assert.Equal(t, 200, ask(nat+"3000", fresh).Code, "also one that was never seen")
	assert.Equal(t, 403, ask(nat+"3000", narrow).Code, "a valid key that may not is no guess")
	assert.Equal(t, 401, ask(nat+"3000", "").Code, "nor is no key")
	assert.Equal(t, 401, ask("203.0.113.8:1", guess).Code, "another address")
	assert.Equal(t, 429, ask("[::ffff:203.0.113.7]:1", guess).Code, "the same address, written for IPv6")
	assert.Equal(t, 401, ask("@", guess).Code, "a Unix socket")

	clock.pass(10*time.Second - time.Millisecond)
	assert.Equal(t, 429, ask(nat+"1", guess).Code)
	clock.pass(time.Millisecond)
	assert.Equal(t, 401, ask(nat+"1", guess).Code)
	assert.Equal(t, 429, ask(nat+"1", guess).Code)

	assert.Contains(t, w.Counted(), apitest.Observed{Operation: "listConnections", Code: "rate_limited", Status: 429})
	assert.Equal(t, 1, strings.Count(w.Logs.String(), "many API keys that are not valid"), "once a minute")
	assert.Contains(t, w.Logs.String(), `"address":"203.0.113.7/32"`)
	assert.NotContains(t, w.Logs.String(), key[len(k.ID)+1:])
}

// TestGuessingFromANetwork: of IPv6, the network that one customer has counts as
// one address.
func TestGuessingFromANetwork(t *testing.T) {
	t.Parallel()
	f, now := api.NewFailures(2), time.Now()
	add := func(remote string) bool { _, _, ok := f.Add(api.Peer(remote), now); return ok }
	assert.True(t, add("[2001:db8:1:2::1]:1"))
	assert.True(t, add("[2001:db8:1:2::2]:1"))
	assert.False(t, add("[2001:db8:1:2:ffff::3]:1"))
	assert.False(t, add("[2001:db8:1:2::4%eth0]:1"))
	assert.True(t, add("[2001:db8:1:3::1]:1"))
	assert.Equal(t, netip.MustParsePrefix("192.0.2.1/32"), api.Peer("192.0.2.1:443"))
	assert.Zero(t, api.Peer("planted"))
}

// TestGuessingFromEverywhere: the table of addresses is bounded. Who comes when it
// is full shares one count, and nobody's count is forgotten before its time.
func TestGuessingFromEverywhere(t *testing.T) {
	t.Parallel()
	f, now := api.NewFailures(2), time.Now()
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	add := func(i int) bool { _, _, ok := f.Add(at(i), now); return ok }
	assert.True(t, add(0))
	assert.True(t, add(0))
	assert.False(t, add(0))
	for i := range api.MostAddresses + 1000 {
		add(i + 1)
	}
	assert.Equal(t, api.MostAddresses, f.Len())
	assert.False(t, add(0), "still over")
	assert.False(t, add(1<<20), "the count of all others is used up")

	now = now.Add(59 * time.Second) // at 30 s one try is back, after 60 s both
	assert.True(t, add(0))
	now = now.Add(time.Second)
	assert.True(t, add(1<<20))
	assert.Equal(t, 2, f.Len(), "the quiet ones are forgotten")
	assert.True(t, add(1<<20))
	assert.False(t, add(1<<20), "counted by itself again")
}
