package client

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
			_, err := b.Token(ctx, id) // the first call starts the flight
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
		assert.Equal(t, CodeCallerGone, b.seen.calls[0].Code)
	})
}

// TestRefreshBringsNothing: the old token is used until it expires, and not every call
// asks Temporal.
func TestRefreshBringsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.refreshErr = errDown
		time.Sleep(29 * time.Minute)
		ends := b.backend.state.ExpiresAt
		for time.Until(ends) > 0 {
			assert.EqualValues(t, 1, b.get().Generation)
			assert.Equal(t, SourceRemaining, b.last().Source)
			time.Sleep(100 * time.Millisecond)
		}
		assert.LessOrEqual(t, b.backend.refreshes, 9, "1, 2, 4, 8, 15 s apart")
		retry := time.Now().Add(time.Hour)
		b.backend.change(func(h *TokenState) { h.RetryAt, h.FailingCode = retry, "rate_limited" })
		var unavailable *ErrUnavailable
		require.ErrorAs(t, b.fails(), &unavailable)
		assert.True(t, unavailable.RetryAt.Equal(retry))
		assert.Equal(t, "rate_limited", unavailable.Code)
		assert.Equal(t, words.CodeUnavailable, words.CodeOf(unavailable))
		assert.LessOrEqual(t, b.last().Left, time.Duration(0), "counted below 0")
		assert.True(t, b.last().Dated)
		b.backend.token(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation, "a newer one is found at once")
	})
}

// TestPatience: no call waits longer than its patience for a slow refresh while the
// token is valid, and none until the token has expired, whether it was in memory or
// not.
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
