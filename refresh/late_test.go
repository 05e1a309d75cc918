package refresh

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lateProvider gives tokens of ten minutes, as Exact Online does, and refreshes them in
// their last 30 s only.
const lateLife, lateWindow = 10 * time.Minute, 30 * time.Second

// liveLate lives through cycles of one connection on a clock of its own, with the real
// decisions about due times and waits. It returns how often the provider refused, and for
// how long there was no token.
func liveLate(t *testing.T, b *bundle, profile provider.BufferProfile, cycles int) (refusals int, without time.Duration) {
	t.Helper()
	b.app.Buffer = profile
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	c := perennial.Connection{ID: "con_late", Status: perennial.StatusActive, CreatedAt: now}
	early := provider.Reply{Outcome: perennial.OutcomeTooEarly, HTTPStatus: 400, Code: "access_denied"}
	for ; cycles > 0; cycles-- {
		set := fresh("2").Tokens
		set.ExpiresIn = lateLife
		w, err := Tokens(b.keyring, b.app, c, c.Generation+1, set, set.RefreshToken, now)
		require.NoError(t, err)
		c.Generation, c.ExpiresAt, c.NextRefreshAt, c.LastRefreshedAt, c.NextAttemptAt = w.Generation, w.ExpiresAt, w.NextRefreshAt, now, time.Time{}
		for {
			at, _ := timing.Wake(c, now)
			now = at.Add(time.Duration(rand.Int64N(int64(2 * time.Second)))) // workers are late
			if !now.Before(c.ExpiresAt.Add(-lateWindow)) {
				break
			}
			refusals++
			require.Less(t, refusals, 10_000, "it never waits for the end")
			c.NextAttemptAt = now.Add(decide(c, b.app.Provider, early, now, time.Minute).Wait)
		}
		without += max(now.Sub(c.ExpiresAt), 0)
	}
	return refusals, without
}

// TestLateRefresh: where the description says when the provider refreshes, no refresh is
// refused in any profile, and there is always a token.
func TestLateRefresh(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, profile := range []provider.BufferProfile{provider.BufferQueue, provider.BufferRealtime, provider.BufferShare, "30s", "1h"} {
		b.app.Provider.RefreshWithin = lateWindow
		refusals, without := liveLate(t, b, profile, 1000)
		assert.Zero(t, refusals, profile)
		assert.Zero(t, without, profile)
	}
	b.app.Provider.RefreshWithin = 0
	refusals, without := liveLate(t, b, provider.BufferQueue, 1000)
	assert.Equal(t, 1000, refusals, "one in each cycle, if the description says nothing")
	assert.Zero(t, without)
	refusals, _ = liveLate(t, b, "10s", 1000)
	assert.Less(t, refusals, 1000, "a short buffer helps too")
}

// TestLateRefreshSpreads: connections with one expiry do not all go at one moment.
func TestLateRefreshSpreads(t *testing.T) {
	t.Parallel()
	end, e := time.Now(), provider.Entry{RefreshWithin: lateWindow}
	seen := map[time.Duration]bool{}
	for generation := range int64(1000) {
		left := end.Sub(timing.Late(end.Add(-lateLife), end, e, "con_1", generation))
		require.LessOrEqual(t, left, 25*time.Second)
		require.Greater(t, left, 20*time.Second)
		seen[left] = true
	}
	assert.Greater(t, len(seen), 900)
	due := end.Add(-10 * time.Second)
	assert.Equal(t, due, timing.Late(due, end, e, "con_1", 1), "late enough already")
}

// TestForcedTooEarly: a caller cannot make a provider refuse. It hears when the provider
// refreshes, from its first call on and with the floor switched off. From then on it is
// served.
func TestForcedTooEarly(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{
		"PostgreSQL": func(t *testing.T) string { return testpg.URL(t) },
		"SQLite":     func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "late.db") },
	} {
		for _, rate := range []float64{0, 100} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := setupOn(t, url(t), fresh("3"), fresh("4"))
				b.app.Provider.RefreshWithin, b.app.MaxRefreshesPerSecond = lateWindow, rate
				c := b.replace(t, 2, lateLife)
				for _, floor := range []time.Duration{10 * time.Second, timing.NoFloor} {
					b.Timing.ForcedFloor = floor
					for _, trigger := range []perennial.Trigger{perennial.TriggerRequest, perennial.TriggerFallback} {
						res := b.force(t, 2, trigger)
						require.Equal(t, perennial.OutcomeThrottled, res.Outcome)
						require.Equal(t, string(store.VerdictTooSoon), res.Code)
						require.Equal(t, c.ExpiresAt.Add(-25*time.Second), res.RetryAt)
					}
				}
				require.Empty(t, b.shown)
				b.replace(t, 3, lateWindow/2)
				require.Equal(t, perennial.OutcomeRefreshed, b.force(t, 3, perennial.TriggerRequest).Outcome)
				b.app.Provider.RefreshWithin = 2 * time.Hour // longer than any token lives
				require.Equal(t, perennial.OutcomeRefreshed, b.force(t, 4, perennial.TriggerRequest).Outcome)
			})
		}
	}
}

// replace stores a token set that lives for so long, as a reconnect does.
func (b *bundle) replace(t *testing.T, generation int64, life time.Duration) perennial.Connection {
	t.Helper()
	set := fresh("2").Tokens
	set.ExpiresIn = life
	w, err := Tokens(b.keyring, b.app, b.c, generation, set, set.RefreshToken, time.Now())
	require.NoError(t, err)
	_, err = b.db.ReplaceTokens(t.Context(), perennial.WorkerAccess(), "con_1", "", generation-1, w)
	require.NoError(t, err)
	c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	return c
}
