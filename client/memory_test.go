package client

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 3 {
			assert.EqualValues(t, 1, b.get().Generation)
		}
		assert.Equal(t, 1, b.backend.loads, "loaded once")
		time.Sleep(time.Minute - 1)
		b.get()
		assert.Equal(t, 1, b.backend.loads, "a minute - 1 ns")
		time.Sleep(time.Nanosecond)
		b.get()
		assert.Equal(t, 2, b.backend.loads, "a minute")
		assert.Equal(t, SourceStore, b.last().Source)

		// Before next_refresh_at memory answers for a minute at most, and after it not
		// at all: then a newer token may be there.
		b.backend.change(func(h *TokenState) { h.DueAt = time.Now().Add(90 * time.Second) })
		time.Sleep(time.Minute)
		b.get()
		b.backend.token(30 * time.Minute)
		time.Sleep(30*time.Second - 1)
		assert.EqualValues(t, 1, b.get().Generation, "before next_refresh_at")
		time.Sleep(time.Nanosecond)
		assert.EqualValues(t, 2, b.get().Generation, "at next_refresh_at")
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestMinTTL is at the boundary: 2 min, or 10 % of the life if that is less.
func TestMinTTL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		life, left time.Duration
		refreshes  int
		generation int64
	}{
		"2 minutes left":                        {30 * time.Minute, 2 * time.Minute, 0, 1},
		"2 minutes - 1 ns":                      {30 * time.Minute, 2*time.Minute - 1, 1, 2},
		"a life of 10 minutes, 1 minute":        {10 * time.Minute, time.Minute, 0, 1},
		"a life of 10 minutes, 1 minute - 1 ns": {10 * time.Minute, time.Minute - 1, 1, 2},
		"1 ns left":                             {30 * time.Minute, 1, 1, 2},
		"expired 0 seconds ago":                 {30 * time.Minute, 0, 1, 2},
		"expired an hour ago":                   {30 * time.Minute, -time.Hour, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.change(func(h *TokenState) {
					h.ExpiresAt = time.Now().Add(c.left)
					h.RefreshedAt, h.DueAt = h.ExpiresAt.Add(-c.life), h.ExpiresAt.Add(-c.life/4)
				})
				assert.Equal(t, c.generation, b.get().Generation)
				assert.Equal(t, c.refreshes, b.backend.refreshes)
			})
		})
	}
}

// TestMemoryKeepsMinTTL: even within its minute, memory does not answer if less than
// MinTTL is left.
func TestMemoryKeepsMinTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *TokenState) { h.DueAt = time.Time{} })
		time.Sleep(27*time.Minute + 30*time.Second)
		b.get()
		time.Sleep(30*time.Second - 1)
		assert.EqualValues(t, 1, b.get().Generation)
		time.Sleep(time.Second + 1)
		assert.EqualValues(t, 2, b.get().Generation)
	})
}

// TestUndatedToken: the client does not guess an unknown life. The minute and
// next_refresh_at still count.
func TestUndatedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *TokenState) { h.ExpiresAt = time.Time{} })
		assert.Zero(t, b.get().ExpiresAt)
		assert.False(t, b.last().Dated)
		time.Sleep(365 * 24 * time.Hour)
		b.get()
		b.get()
		assert.Equal(t, 3, b.backend.loads, "due: the row is asked each time")
		assert.Zero(t, b.backend.refreshes)
	})
}

func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"refused": 0, "no answer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.get()
				b.backend.change(func(*TokenState) { b.backend.loadErr, b.backend.loadTakes = errDown, takes })
				var slow int
				for time.Until(b.backend.state.ExpiresAt) > 0 {
					began := time.Now()
					assert.EqualValues(t, 1, b.get().Generation)
					if time.Since(began) > 0 {
						slow++
					}
					time.Sleep(10 * time.Second)
				}
				assert.LessOrEqual(t, slow, 1, "one call finds out; the others do not wait")
				var unavailable *ErrUnavailable
				require.ErrorAs(t, b.fails(), &unavailable)
				assert.Equal(t, takes == 0, errors.Is(unavailable, errDown))
				tried := b.backend.loads
				for range 100 {
					b.fails()
				}
				assert.Equal(t, tried, b.backend.loads, "it is left alone for a moment")
				b.backend.change(func(*TokenState) { b.backend.loadErr, b.backend.loadTakes = nil, 0 })
				time.Sleep(time.Until(unavailable.RetryAt))
				assert.EqualValues(t, 2, b.get().Generation)
			})
		})
	}
}

// TestKillsAccess: if a refresh ends the old access token, memory is used only if there
// is nothing else.
func TestKillsAccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *TokenState) { h.KillsAccess = true })
		b.get()
		b.backend.token(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation)
		assert.Equal(t, 2, b.backend.loads)
		b.backend.change(func(*TokenState) { b.backend.loadErr = errDown })
		assert.EqualValues(t, 2, b.get().Generation)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *Config) { c.MaxConnections = 10 })
		b.get()
		for i := range 100 {
			_, err := b.Token(t.Context(), fmt.Sprint("no such ", i))
			require.Equal(t, words.CodeNotFound, words.CodeOf(err))
		}
		assert.EqualValues(t, 1, b.count.Load(), "ids that are nothing are not kept")
		for i := range 100 {
			b.entryOf(fmt.Sprint("other ", i)).last.Store(&snapshot{loaded: time.Now()})
		}
		assert.LessOrEqual(t, b.count.Load(), int64(10))
		kept := 0
		b.entries.Range(func(any, any) bool { kept++; return true })
		assert.EqualValues(t, b.count.Load(), kept)
		b.get()
	})
}
