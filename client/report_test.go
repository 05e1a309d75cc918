package client

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// report reports a refusal, and checks that the error has no token.
func (b *bundle) report(generation int64, why RefusalCause) (Token, error) {
	b.Helper()
	token, err := b.Refused(b.Context(), id, generation, why)
	if err != nil {
		assert.NotContains(b.T, err.Error(), secret)
	}
	return token, err
}

// TestReport: the report of the newest token gets a newer one, whatever its cause. One of
// an older token gets the newest, and asks nobody.
func TestReport(t *testing.T) {
	t.Parallel()
	for _, why := range words.RefusalCauses {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.get()
			for range 1000 {
				token, err := b.report(1, why)
				require.NoError(t, err)
				require.EqualValues(t, 2, token.Generation)
			}
			assert.Equal(t, []RefusalCause{why}, b.backend.reported)
			assert.EqualValues(t, 2, b.get().Generation)
		})
	}
}

// TestReportedNewest: without a generation a notice is about the newest.
func TestReportedNewest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.token(30 * time.Minute)
		token, err := b.report(0, RevokedAtProvider)
		require.NoError(t, err)
		assert.EqualValues(t, 3, token.Generation)
		assert.Equal(t, []int64{2}, b.backend.asked)
	})
}

// TestReportOfAnOldToken: the newest is nearly over, so it is renewed; the report is not
// about it.
func TestReportOfAnOldToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.token(30 * time.Minute)
		time.Sleep(29 * time.Minute)
		token, err := b.report(1, TokenRefused)
		require.NoError(t, err)
		assert.EqualValues(t, 3, token.Generation)
		assert.Empty(t, b.backend.reported)
	})
}

// TestReportUndecided: the provider's answer is still out. The error says when it comes,
// and repeated reports ask no more than a wait allows.
func TestReportUndecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.refreshBringsNothing = true
		confirmed := time.Now().Add(time.Minute)
		b.backend.onLoad = func(s *TokenState) {
			if b.backend.refreshes > 0 {
				s.RetryAt = confirmed
			}
		}
		for range 1000 {
			_, err := b.report(1, RevokedAtProvider)
			var undecided *ErrUnavailable
			require.ErrorAs(t, err, &undecided)
			assert.Equal(t, confirmed.Round(0), undecided.RetryAt)
			assert.ErrorContains(t, err, "cannot tell whether the provider still accepts its grant now; try again at ")
			assert.NotErrorAs(t, err, new(*ErrStillUnauthorized))
		}
		assert.Len(t, b.backend.reported, 1)
		assert.EqualValues(t, 1, b.get().Generation, "the token is handed out as before")
	})
}

// TestReportTooSoon: callers had the token refreshed just before. A refused token is then
// a fault of another kind; a notice is looked into later.
func TestReportTooSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		retryAt := time.Now().Add(80 * time.Second)
		b.backend.change(func(s *TokenState) { s.ForcedAt, s.RetryAt = time.Now(), retryAt })
		_, err := b.report(1, TokenRefused)
		var still *ErrStillUnauthorized
		require.ErrorAs(t, err, &still)
		assert.Equal(t, retryAt.Round(0), still.RetryAt)
		assert.ErrorContains(t, err, "a fresh token was reported as refused too (generation 1")
		_, err = b.report(1, RevokedAtProvider)
		var undecided *ErrUnavailable
		require.ErrorAs(t, err, &undecided)
		assert.Equal(t, retryAt.Round(0), undecided.RetryAt)
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestReportAfterA401: a 401 has just brought the newest token. Another is of no use
// against a refusal, but a notice is asked about.
func TestReportAfterA401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		require.NoError(t, b.fetch(t.Context(), id, 1).err)
		_, err := b.report(2, TokenRefused)
		assert.ErrorAs(t, err, new(*ErrStillUnauthorized))
		assert.Empty(t, b.backend.reported)
		token, err := b.report(2, RevokedAtProvider)
		require.NoError(t, err)
		assert.EqualValues(t, 3, token.Generation)
	})
}

// TestReportStates: what the connection is decides, not the report.
func TestReportStates(t *testing.T) {
	t.Parallel()
	for status, want := range map[words.Status]any{
		words.StatusReconnectRequired: new(*ErrReconnectRequired), words.StatusPaused: new(*ErrPaused), words.StatusDisconnected: new(*ErrNotFound),
	} {
		for _, generation := range []int64{0, 1} {
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.backend.change(func(s *TokenState) { s.Status = status })
				_, err := b.report(generation, RevokedAtProvider)
				assert.ErrorAs(t, err, want, status)
				assert.Zero(t, b.backend.refreshes)
			})
		}
	}
}

// TestReportInvalid: nobody is asked.
func TestReportInvalid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for _, c := range []struct {
			generation int64
			why        RefusalCause
			text       string
		}{
			{1, "", "why must be token_refused or revoked_at_provider"},
			{1, "planted-access-token", "why must be token_refused or revoked_at_provider"},
			{0, TokenRefused, "generation is needed with token_refused"},
			{-1, RevokedAtProvider, "must not be negative"},
			{math.MinInt64, TokenRefused, "must not be negative"},
		} {
			_, err := b.report(c.generation, c.why)
			require.ErrorAs(t, err, new(*ErrInvalid))
			assert.ErrorContains(t, err, c.text)
		}
		_, err := b.Refused(t.Context(), "con_other", 1, TokenRefused)
		assert.ErrorAs(t, err, new(*ErrNotFound))
		token, err := b.report(math.MaxInt64, TokenRefused)
		require.NoError(t, err)
		assert.EqualValues(t, 1, token.Generation, "the database was restored")
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestReportJoins: a report waits for a load in progress, and then reports all the same;
// of many reports at once one is made.
func TestReportJoins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.loadTakes, b.backend.takes = time.Second, time.Second
		var wg sync.WaitGroup
		wg.Go(func() { b.get() })
		synctest.Wait()
		for range 100 {
			wg.Go(func() {
				token, err := b.Refused(context.Background(), id, 1, RevokedAtProvider)
				assert.NoError(t, err)
				assert.EqualValues(t, 2, token.Generation)
			})
		}
		wg.Wait()
		assert.Len(t, b.backend.reported, 1)
	})
}

// TestReportJoinsA401: a 401 to the token that another 401 has just brought asks nobody. A
// notice that comes at the same time is asked about all the same.
func TestReportJoinsA401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		require.NoError(t, b.fetch(t.Context(), id, 1).err)
		b.backend.loadTakes = time.Second
		var wg sync.WaitGroup
		wg.Go(func() { assert.Error(t, b.fetch(context.Background(), id, 2).err) })
		synctest.Wait()
		token, err := b.report(2, RevokedAtProvider)
		require.NoError(t, err)
		assert.EqualValues(t, 3, token.Generation)
		wg.Wait()
	})
}

// TestReportAway: the backend is out of reach; the token in memory is no answer.
func TestReportAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.loadErr = errDown
		for _, generation := range []int64{0, 1} {
			_, err := b.report(generation, RevokedAtProvider)
			assert.ErrorAs(t, err, new(*ErrUnavailable))
			assert.True(t, errors.Is(err, errDown))
		}
	})
}

// plainBackend knows no reports.
type plainBackend struct{ Backend }

// TestReportToAPlainBackend: then the report is a refresh.
func TestReportToAPlainBackend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		c, err := New(Config{Backend: plainBackend{b.backend}})
		require.NoError(t, err)
		token, err := c.Refused(t.Context(), id, 1, TokenRefused)
		require.NoError(t, err)
		assert.EqualValues(t, 2, token.Generation)
		assert.Empty(t, b.backend.reported)
	})
}
