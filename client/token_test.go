package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
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

		// In the minute that ends at next_refresh_at memory is asked no longer than
		// that: then a newer one may be there.
		b.backend.change(func(h *Held) { h.DueAt = time.Now().Add(90 * time.Second) })
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

// TestMinTTL is at the boundary: 2 min, or 10 % of the life where that is less.
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
				b.backend.change(func(h *Held) {
					h.ExpiresAt = time.Now().Add(c.left)
					h.RefreshedAt, h.DueAt = h.ExpiresAt.Add(-c.life), h.ExpiresAt.Add(-c.life/4)
				})
				assert.Equal(t, c.generation, b.get().Generation)
				assert.Equal(t, c.refreshes, b.backend.refreshes)
			})
		})
	}
}

// TestMemoryKeepsMinTTL: within its minute, memory stops where less than MinTTL is
// left.
func TestMemoryKeepsMinTTL(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *Held) { h.DueAt = time.Time{} })
		time.Sleep(27*time.Minute + 30*time.Second)
		b.get()
		time.Sleep(30*time.Second - 1)
		assert.EqualValues(t, 1, b.get().Generation)
		time.Sleep(time.Second + 1)
		assert.EqualValues(t, 2, b.get().Generation)
	})
}

// TestUndatedToken: a life that nobody knows is not guessed; a minute and
// next_refresh_at still hold.
func TestUndatedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *Held) { h.ExpiresAt = time.Time{} })
		assert.Zero(t, b.get().ExpiresAt)
		assert.False(t, b.last().Dated)
		time.Sleep(365 * 24 * time.Hour)
		b.get()
		b.get()
		assert.Equal(t, 3, b.backend.loads, "due: the row is asked each time")
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestJobOlderThanItsToken: what a job would have carried has expired; what it
// asks for has not, and its delay is seen.
func TestJobOlderThanItsToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		carried, enqueued := b.get(), time.Now()
		time.Sleep(45 * time.Minute)
		require.True(t, carried.ExpiresAt.Before(time.Now()))
		got, err := b.Token(WithEnqueuedAt(t.Context(), enqueued), id)
		require.NoError(t, err)
		assert.Greater(t, got.Generation, carried.Generation)
		assert.Equal(t, 30*time.Minute, time.Until(got.ExpiresAt))
		assert.Equal(t, 45*time.Minute, b.last().Queued)
		assert.Equal(t, SourceRefresh, b.last().Source)
		b.get()
		assert.Zero(t, b.last().Queued, "not said")
	})
}

// TestOneRefreshForMany: two hundred callers wait for one load and one refresh.
func TestOneRefreshForMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.loadTakes, b.backend.takes = 10*time.Millisecond, 2*time.Second
		time.Sleep(30 * time.Minute)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				token, err := b.Token(t.Context(), id)
				assert.NoError(t, err)
				assert.EqualValues(t, 2, token.Generation)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, b.backend.refreshes)
		assert.Equal(t, 2, b.backend.loads, "before and after the refresh")
		assert.Equal(t, []int64{1}, b.backend.asked, "only if it is still that generation")
	})
}

func TestCancelledCallerLeavesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.takes = 2 * time.Second
		time.Sleep(30 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := b.Token(ctx, id) // the first one: it starts the flight
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(began))
		})
		synctest.Wait()
		assert.EqualValues(t, 2, b.get().Generation)
		assert.Equal(t, 2*time.Second, time.Since(began))
		wg.Wait()
		assert.Equal(t, 1, b.backend.refreshes)
		b.seen.mu.Lock()
		defer b.seen.mu.Unlock()
		assert.Equal(t, CodeLeft, b.seen.calls[0].Code)
	})
}

// TestRefreshBringsNothing: what is left serves until it expires, and Temporal is
// not asked by every call.
func TestRefreshBringsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.refreshErr = errDown
		time.Sleep(29 * time.Minute)
		ends := b.backend.held.ExpiresAt
		for time.Until(ends) > 0 {
			assert.EqualValues(t, 1, b.get().Generation)
			assert.Equal(t, SourceLeft, b.last().Source)
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, b.backend.refreshes, 9, "1, 2, 4, 8, 15 s apart")
		retry := time.Now().Add(time.Hour)
		b.backend.change(func(h *Held) { h.RetryAt, h.FailingCode = retry, "rate_limited" })
		var unavailable *ErrUnavailable
		require.ErrorAs(t, b.fails(), &unavailable)
		assert.True(t, unavailable.RetryAt.Equal(retry))
		assert.Equal(t, "rate_limited", unavailable.Code)
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(unavailable))
		assert.LessOrEqual(t, b.last().Left, time.Duration(0), "counted below 0")
		assert.True(t, b.last().Dated)
		b.backend.token(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation, "a newer one is found at once")
	})
}

// TestPatience: a slow refresh is not waited for while the token lives, nor until
// it is gone, whether memory had it or not.
func TestPatience(t *testing.T) {
	t.Parallel()
	for _, cold := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.backend.takes = time.Hour
			if !cold {
				b.get()
			}
			time.Sleep(30*time.Minute - 2*time.Second)
			began := time.Now()
			assert.Equal(t, time.Second, time.Until(b.get().ExpiresAt))
			assert.Equal(t, time.Second, time.Since(began))
			time.Sleep(time.Second)
			assert.ErrorAs(t, b.fails(), new(*ErrUnavailable))
			assert.Equal(t, 30*time.Second, time.Since(began))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.takes = 20 * time.Second
		time.Sleep(29 * time.Minute)
		began := time.Now()
		assert.EqualValues(t, 1, b.get().Generation)
		assert.Equal(t, 5*time.Second, time.Since(began))
		time.Sleep(15 * time.Second)
		synctest.Wait()
		assert.EqualValues(t, 2, b.get().Generation)
		assert.Equal(t, SourceMemory, b.last().Source, "it went on without its caller")
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
				b.backend.change(func(*Held) { b.backend.loadErr, b.backend.loadTakes = errDown, takes })
				var slow int
				for time.Until(b.backend.held.ExpiresAt) > 0 {
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
				b.backend.change(func(*Held) { b.backend.loadErr, b.backend.loadTakes = nil, 0 })
				time.Sleep(time.Until(unavailable.RetryAt))
				assert.EqualValues(t, 2, b.get().Generation)
			})
		})
	}
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		become := func(s perennial.Status, r perennial.Reason) {
			b.backend.change(func(h *Held) { h.Status, h.Reason = s, r })
			time.Sleep(time.Minute) // until memory is asked no more
		}
		become(perennial.StatusPaused, "")
		var paused *ErrPaused
		for range 2 {
			require.ErrorAs(t, b.fails(), &paused)
		}
		assert.Equal(t, perennial.CodePaused, perennial.CodeOf(paused))
		become(perennial.StatusDisconnected, "")
		var gone *ErrNotFound
		require.ErrorAs(t, b.fails(), &gone)
		assert.True(t, gone.Disconnected)
		assert.Equal(t, perennial.CodeDisconnected, perennial.CodeOf(gone))
		_, err := b.Token(t.Context(), "con_of_another_tenant")
		require.ErrorAs(t, err, &gone)
		assert.False(t, gone.Disconnected)

		// What is left of an ended grant is served, and marked so.
		since := time.Now().Add(-time.Hour).UTC()
		b.backend.change(func(h *Held) {
			h.Since, h.ReconnectURL, h.HelpURL = since, "https://app.example/r/1", "https://help.example"
		})
		become(perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
		left := b.get()
		assert.Equal(t, perennial.StatusReconnectRequired, left.Status)
		assert.Equal(t, perennial.ReasonInvalidGrant, left.Reason)
		time.Sleep(time.Until(left.ExpiresAt) - 1)
		assert.Equal(t, left, b.get())
		time.Sleep(time.Nanosecond)
		var reconnect *ErrReconnectRequired
		require.ErrorAs(t, b.fails(), &reconnect)
		assert.Equal(t, &ErrReconnectRequired{Connection: id, Account: "portal-7", Reason: perennial.ReasonInvalidGrant, Since: since,
			Words:        perennial.Describe(perennial.StatusReconnectRequired, "", perennial.ReasonInvalidGrant, "HubSpot"),
			ReconnectURL: "https://app.example/r/1", HelpURL: "https://help.example"}, reconnect)
		assert.Equal(t, perennial.CodeReconnectRequired, perennial.CodeOf(reconnect))
		assert.Zero(t, b.backend.refreshes, "nothing is asked for a grant that has ended")
		become(perennial.StatusActive, "")
		b.backend.token(30 * time.Minute)
		b.get()
	})
}

// TestKillsAccess: where a refresh ends the old access token, memory is not
// believed, unless there is nothing else.
func TestKillsAccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.change(func(h *Held) { h.KillsAccess = true })
		b.get()
		b.backend.token(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation)
		assert.Equal(t, 2, b.backend.loads)
		b.backend.change(func(*Held) { b.backend.loadErr = errDown })
		assert.EqualValues(t, 2, b.get().Generation)
	})
}

// TestClocks: a clock that is wrong by any amount changes no decision, and is
// told of once.
func TestClocks(t *testing.T) {
	t.Parallel()
	for skew, warns := range map[time.Duration]bool{0: false, 30 * time.Second: false, 30*time.Second + 1: true, -31 * time.Second: true, 10 * time.Hour: true, -10 * time.Hour: true} {
		t.Run(fmt.Sprint(skew), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.skew = skew
				b.backend.token(30 * time.Minute)
				assert.Equal(t, 30*time.Minute, time.Until(b.get().ExpiresAt), "by this clock")
				assert.Equal(t, skew, b.ClockOffset())
				assert.Equal(t, skew, b.seen.offset)
				time.Sleep(28 * time.Minute)
				assert.EqualValues(t, 2, b.get().Generation)
				assert.Zero(t, b.backend.refreshes)
				time.Sleep(time.Nanosecond)
				b.get()
				assert.Equal(t, 1, b.backend.refreshes)
				time.Sleep(time.Minute)
				b.get()
				want := 0
				if warns {
					want = 1
				}
				assert.Equal(t, want, count(b.logs.String(), "level=WARN"), b.logs.String())
			})
		})
	}
}

// TestSlowClock: what a slow answer makes uncertain is not warned of.
func TestSlowClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.skew, b.backend.loadTakes = 29500*time.Millisecond, 2*time.Second
		b.get()
		assert.Equal(t, 30500*time.Millisecond, b.ClockOffset())
		assert.Zero(t, count(b.logs.String(), "level=WARN"))
		b.backend.skew = 31 * time.Second
		time.Sleep(time.Minute)
		b.get()
		assert.Equal(t, 1, count(b.logs.String(), "level=WARN"))
		b.backend.skew = 0
		time.Sleep(time.Minute)
		b.get()
		assert.Equal(t, 1, count(b.logs.String(), "agree again"))
	})
}

func TestUsedIsNotedOnceAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.life = 1000 * time.Hour
		b.backend.token(1000 * time.Hour)
		b.backend.change(func(h *Held) { h.LastUsedAt = time.Time{} })
		for range 5 * 60 {
			b.get()
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		assert.Equal(t, 5, b.backend.used)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *Config) { c.MaxConnections = 10 })
		b.get()
		for i := range 100 {
			_, err := b.Token(t.Context(), fmt.Sprint("no such ", i))
			require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
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

// TestTokenSource: x/oauth2 asks again when memory would, also through the
// ReuseTokenSource that oauth2.NewClient puts before it.
func TestTokenSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		source := oauth2.ReuseTokenSource(nil, b.TokenSource(t.Context(), id))
		get := func() string {
			token, err := source.Token()
			require.NoError(t, err)
			require.True(t, token.Valid())
			require.Equal(t, "Bearer", token.Type())
			return token.AccessToken
		}
		assert.Equal(t, secret+"-1", get())
		b.backend.token(30 * time.Minute)
		assert.Equal(t, secret+"-1", get())
		time.Sleep(time.Minute + 1)
		assert.Equal(t, secret+"-2", get())
		b.backend.change(func(h *Held) { h.Status = perennial.StatusPaused })
		time.Sleep(time.Minute + 1)
		_, err := source.Token()
		assert.ErrorAs(t, err, new(*ErrPaused))
	})
}

func TestNothingPrintsAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		token := b.get()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			assert.NotContains(t, fmt.Sprintf(verb, token), secret, verb)
			assert.NotContains(t, fmt.Sprintf(verb, b.entryOf(id).last.Load()), secret, verb)
		}
		assert.Equal(t, secret+"-1", token.Access.Reveal())
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"Backend":        {},
		"MinTTL":         {Backend: &fake{}, MinTTL: -1},
		"Patience":       {Backend: &fake{}, Patience: -1},
		"LoadTimeout":    {Backend: &fake{}, LoadTimeout: -1},
		"RefreshTimeout": {Backend: &fake{}, RefreshTimeout: -1},
		"MaxConnections": {Backend: &fake{}, MaxConnections: -1},
	} {
		_, err := New(c)
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
		assert.Contains(t, err.Error(), name)
	}
}
