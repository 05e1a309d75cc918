package api_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGuessing: an address that guesses keys must wait, whatever headers say. A
// valid key from the same address always works.
func TestGuessing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Now, c.Failures = clock.now, 6 })
	k, key := w.Key("acme", perennial.ScopeTokensRead)
	_, fresh := w.Key("acme", perennial.ScopeTokensRead) // not in memory when the address exceeds its limit
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

// counting counts the look-ups of keys.
type counting struct{ lookups, lists, touches atomic.Int64 }

func (c *counting) count(statement, table string) {
	switch {
	case table == "api_keys" && strings.HasPrefix(statement, "SELECT") && strings.Contains(statement, "WHERE id ="):
		c.lookups.Add(1)
	case table == "api_keys" && strings.Contains(statement, "ORDER BY"):
		c.lists.Add(1)
	case strings.HasPrefix(statement, "UPDATE api_keys SET last_used_at"):
		c.touches.Add(1)
	}
}

func counted(t *testing.T, more func(*api.Config)) (*apitest.World, *counting) {
	c := &counting{}
	w := apitest.New(t, testpg.URL(t), more)
	dbtest.OnStatement(t, w.DB, c.count)
	return w, c
}

func guessed() string {
	_, key := api.NewKey("nobody", "guessed")
	return key.Reveal()
}

// TestGuessesCostNothing: an address over its limit costs the database no look-up,
// however many requests come at once. A valid key from it still works, even if this
// process has never seen the key.
func TestGuessesCostNothing(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w, db := counted(t, func(c *api.Config) { c.Now, c.Failures = clock.now, 10 })
	_, fresh := w.Key("acme", perennial.ScopeTokensRead)
	k, revoked := w.Key("acme", perennial.ScopeTokensRead)
	require.NoError(t, w.Keys.Revoke(t.Context(), perennial.CommandLineAccess(), k.ID))
	var refused, limited atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				switch w.Do(guessed(), "GET", "/v1/connections", "").Code {
				case 401:
					refused.Add(1)
				case 429:
					limited.Add(1)
				}
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 10, refused.Load())
	assert.EqualValues(t, 390, limited.Load())
	assert.EqualValues(t, 10, db.lookups.Load())
	assert.EqualValues(t, 1, db.lists.Load(), "the list is read once in a while")
	assert.Equal(t, 200, w.Do(fresh, "GET", "/v1/connections", "").Code)
	assert.Equal(t, 429, w.Do(fresh[:20]+strings.Repeat("0", 64), "GET", "/v1/connections", "").Code, "its id alone is not enough")
	assert.Equal(t, 429, w.Do(revoked, "GET", "/v1/connections", "").Code)
	clock.pass(api.KeyLasts)
	_, newer := w.Key("acme", perennial.ScopeTokensRead)
	assert.Equal(t, 200, w.Do(newer, "GET", "/v1/connections", "").Code, "one that was made meanwhile")
	assert.EqualValues(t, 2, db.lists.Load())
	assert.LessOrEqual(t, db.lookups.Load(), int64(13))
}

// TestNoKeys: bytes that cannot be a key are refused without a look-up. They count as a
// failure, and are not an error of ours.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	w, db := counted(t, func(c *api.Config) { c.Failures = 1000 })
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	for name, bad := range map[string]string{
		"not UTF-8": "pk_\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6\xf5\xf4\xf3\xf2\xf1\xf0_" + strings.Repeat("0", 64), "not UTF-8, in the secret": key[:83] + "\xff",
		"capitals": strings.ToUpper(key[:3]) + key[3:], "capital digits": key[:20] + strings.Repeat("A", 64), "no prefix": "xx" + key[2:], "longer": key + "0", "shorter": key[:len(key)-1],
		"long": key + strings.Repeat("0", 100_000), "no secret": key[:20], "another separator": key[:19] + "-" + key[20:], "a letter": "pk_g" + key[4:],
		"half-width": "pk_" + strings.Repeat("\uff10", 5) + "0_" + strings.Repeat("0", 64), "NUL": "pk_" + strings.Repeat("\x00", 16) + "_" + strings.Repeat("0", 64), "a quote": "pk_'" + key[4:],
	} {
		answer := w.Do(bad, "GET", "/v1/connections", "")
		assert.Equal(t, 401, answer.Code, name)
		assert.Equal(t, perennial.Code("unauthorized"), problemIn(t, answer).Code, name)
	}
	assert.Zero(t, db.lookups.Load())
	assert.NotContains(t, w.Logs.String(), "ERROR")
	assert.Equal(t, 200, w.Do(key, "GET", "/v1/connections", "").Code)
}

// TestWrongSecret: a wrong secret of an existing key leaves no trace on the key, and
// takes as long as a key that does not exist.
func TestWrongSecret(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w, db := counted(t, func(c *api.Config) { c.Now, c.Failures = clock.now, 1000 })
	k, key := w.Key("acme", perennial.ScopeTokensRead)
	wrong := k.ID + "_" + strings.Repeat("0", 64)
	cost := func(key string) [3]int64 {
		before := [3]int64{db.lookups.Load(), db.lists.Load(), db.touches.Load()}
		require.Equal(t, 401, w.Do(key, "GET", "/v1/connections", "").Code)
		return [3]int64{db.lookups.Load() - before[0], db.lists.Load() - before[1], db.touches.Load() - before[2]}
	}
	unknown := guessed()
	for i := range 3 {
		assert.Equal(t, cost(unknown), cost(wrong), "request %d", i)
		if i == 1 {
			clock.pass(api.KeyLasts)
		}
	}
	row, err := w.Keys.Get(t.Context(), k.ID)
	require.NoError(t, err)
	assert.Zero(t, row.LastUsedAt)

	for range 5 {
		require.Equal(t, 200, w.Do(key, "GET", "/v1/connections", "").Code)
	}
	assert.EqualValues(t, 1, db.touches.Load(), "noted once")
	row, err = w.Keys.Get(t.Context(), k.ID)
	require.NoError(t, err)
	assert.NotZero(t, row.LastUsedAt)
	require.NoError(t, w.Keys.Revoke(t.Context(), perennial.CommandLineAccess(), k.ID))
	clock.pass(2 * time.Hour)
	require.Equal(t, 401, w.Do(key, "GET", "/v1/connections", "").Code)
	assert.EqualValues(t, 1, db.touches.Load(), "a revoked key is not used")
}
