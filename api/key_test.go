package api_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type ctx = context.Context

// TestNewKey: the stored value is a hash of 256 random bits, and no two keys are alike.
func TestNewKey(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		k, whole := api.NewKey("acme", "ci", perennial.ScopeTokensRead)
		key := whole.Reveal()
		require.Regexp(t, `^pk_[0-9a-f]{16}_[0-9a-f]{64}$`, key)
		require.True(t, strings.HasPrefix(key, k.ID+"_"))
		hash := sha256.Sum256([]byte(key[len(k.ID)+1:]))
		require.Equal(t, hash[:], k.SecretHash)
		require.NotContains(t, fmt.Sprintf("%+v %s", k, whole), key[len(k.ID)+1:])
		require.False(t, seen[key] || seen[k.ID])
		seen[key], seen[k.ID] = true, true
	}
}

// clock is a clock that the test sets.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }

func newClock() *clock { c := &clock{}; c.at.Store(time.Now().UnixNano()); return c }

// TestRevocation: a revoked key stops working within [api.KeyLasts] in every process.
func TestRevocation(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Now = clock.now })
	k, key := w.Key("acme", perennial.ScopeTokensRead)
	at := func() int { return w.Do(key, "GET", "/v1/connections", "").Code }
	require.Equal(t, 200, at())
	used, err := w.Keys.Get(t.Context(), k.ID)
	require.NoError(t, err)
	assert.NotZero(t, used.LastUsedAt)
	require.NoError(t, w.Keys.Revoke(t.Context(), perennial.CommandLineAccess(), k.ID))
	clock.pass(api.KeyLasts - 1)
	assert.Equal(t, 200, at(), "it was read a little less ago")
	clock.pass(1)
	assert.Equal(t, 401, at())

	// That a key does not exist is remembered for no longer either.
	late, whole := api.NewKey("acme", "late", perennial.ScopeTokensRead)
	get := func() int { return w.Do(whole.Reveal(), "GET", "/v1/connections", "").Code }
	assert.Equal(t, 401, get())
	_, err = w.Keys.Add(t.Context(), perennial.CommandLineAccess(), late)
	require.NoError(t, err)
	clock.pass(api.KeyLasts)
	assert.Equal(t, 200, get())
}

// TestRate: each key has its own rate, and a refusal says when to come again.
func TestRate(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Now, c.Rate, c.Burst = clock.now, 0.5, 3 })
	_, one := w.Key("acme", perennial.ScopeTokensRead)
	_, two := w.Key("acme", perennial.ScopeTokensRead)
	get := func(key string) int { return w.Do(key, "GET", "/v1/connections", "").Code }
	for range 3 {
		require.Equal(t, 200, get(one))
	}
	answer := w.Do(one, "GET", "/v1/connections", "")
	p := problemIn(t, answer)
	assert.Equal(t, 429, answer.Code)
	assert.Equal(t, perennial.Code("rate_limited"), p.Code)
	assert.Equal(t, "2", answer.Header().Get("Retry-After"))
	assert.Equal(t, 200, get(two), "another's rate is its own")
	assert.Equal(t, 401, get(one+"0"), "a wrong key uses nobody's")
	clock.pass(2*time.Second - time.Millisecond)
	assert.Equal(t, 429, get(one))
	clock.pass(time.Millisecond)
	assert.Equal(t, 200, get(one))
	assert.Contains(t, w.Counted(), apitest.Observed{Operation: "listConnections", Code: "rate_limited", Status: 429})
}

// TestDefaultRate: by default a key may make 2,000 requests a second, and those of two
// seconds at once.
func TestDefaultRate(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Now, c.Rate, c.Burst = clock.now, 0, 0 })
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	get := func() int { return w.Do(key, "GET", "/v1/connections?limit=0", "").Code } // refused without a query
	for range 4000 {
		require.Equal(t, 422, get())
	}
	require.Equal(t, 429, get())
	clock.pass(time.Second/2000 - time.Microsecond)
	require.Equal(t, 429, get())
	clock.pass(time.Microsecond)
	require.Equal(t, 422, get())
}

// TestComparisonTime: a wrong secret takes equally long whether its first or its last
// byte differs. The test compares medians of interleaved runs. Their difference is much
// smaller than a comparison that stops early would cause.
func TestComparisonTime(t *testing.T) {
	w := apitest.New(t, testpg.URL(t))
	k, key := w.Key("acme", perennial.ScopeTokensRead)
	secret := key[len(k.ID)+1:]
	other := func(i int) string {
		flipped := []byte(secret)
		flipped[i] = "01"[(flipped[i]+1)%2]
		return k.ID + "_" + string(flipped)
	}
	wrong := []string{other(0), other(63)}
	medians := func() (m [2]float64) {
		var taken [2][]float64
		for range 3000 {
			for i := range wrong {
				began := time.Now()
				api.SecretMatches(k.SecretHash, wrong[i][len(k.ID)+1:])
				taken[i] = append(taken[i], float64(time.Since(began)))
			}
		}
		for i := range taken {
			slices.Sort(taken[i])
			m[i] = taken[i][len(taken[i])/2]
		}
		return m
	}
	// A difference that depends on the secret is there in every round; the noise of a
	// busy machine is not.
	alike := false
	for range 5 {
		m := medians()
		t.Logf("median of a comparison: %.0f ns where the first place differs, %.0f ns where the last does", m[0], m[1])
		alike = alike || math.Abs(m[0]-m[1]) < math.Max(m[0], m[1])/4
	}
	assert.True(t, alike)
	assert.Equal(t, 401, w.Do(other(63), "GET", "/v1/connections", "").Code)
}
