package direct

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forced makes the connection one of so many forced refreshes, the last of them just now.
func (b *bundle) forced(count string) {
	b.Helper()
	(&dbtest.Database{URL: b.url}).Exec(b.TB.(*testing.T), "UPDATE connections SET forced_at = last_refreshed_at, forced_count = "+count+" WHERE id = '"+b.id+"'")
}

// TestForced: while callers must wait, neither the workflow nor the engine is asked, and
// the state says when they may again. It says nothing of that before the first forced
// refresh, to callers of an older token, and once one is due.
func TestForced(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.result = func(refresh.Request) (refresh.Result, error) { return refresh.Result{}, nil }
	beside := b.of("acme", engine{b})
	state, err := b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Zero(t, state.ForcedAt)
	assert.Zero(t, state.RetryAt)

	b.forced("3")
	for _, backend := range []*Backend{b.Backend, beside} {
		for _, generation := range []int64{0, 1} {
			require.NoError(t, backend.Refresh(t.Context(), b.id, generation), "it is no error: the token is well")
		}
		state, err = backend.Load(t.Context(), b.id)
		require.NoError(t, err)
		assert.Equal(t, b.row().LastRefreshedAt, state.ForcedAt)
		assert.Equal(t, state.ForcedAt.Add(40*time.Second), state.RetryAt)
		assert.InDelta(t, 40, state.Floored(0).Seconds(), 20)
		assert.Zero(t, state.Floored(time.Minute))
	}
	assert.Zero(t, b.calls.Load())
	assert.Zero(t, b.presented.Load())
	_, err = b.of("other", nil).Load(t.Context(), b.id)
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "another tenant hears nothing of it")
	assert.Equal(t, perennial.CodeNotFound, perennial.CodeOf(b.of("other", nil).Refresh(t.Context(), b.id, 1)))

	b.renew(30 * time.Minute) // a new grant
	require.NoError(t, b.Refresh(t.Context(), b.id, 2))
	assert.EqualValues(t, 1, b.calls.Load())
	b.forced("3")
	require.NoError(t, b.Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 2, b.calls.Load(), "of an older token the workflow says that there is a newer one")

	b.overdue("next_refresh_at", time.Second)
	state, err = b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Zero(t, state.ForcedAt)
	require.NoError(t, b.Refresh(t.Context(), b.id, b.row().Generation))
	assert.EqualValues(t, 3, b.calls.Load())

	without := b.Config
	without.Floor = timing.Config{ForcedFloor: timing.NoFloor}.WithDefaults().Floor()
	open, err := New(without)
	require.NoError(t, err)
	b.forced("3")
	state, err = open.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Zero(t, state.ForcedAt)
}

// TestTooEarlyToAsk: of a provider that refreshes only near a token's end, the state says
// when that is, and nobody is asked before.
func TestTooEarlyToAsk(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.app.Provider.RefreshWithin = 30 * time.Second
	b.renew(30 * time.Minute)
	opens := b.row().ExpiresAt.Add(-25 * time.Second)
	for _, backend := range []*Backend{b.Backend, b.of("acme", engine{b})} {
		for _, generation := range []int64{0, 2} {
			require.NoError(t, backend.Refresh(t.Context(), b.id, generation))
		}
		state, err := backend.Load(t.Context(), b.id)
		require.NoError(t, err)
		assert.Equal(t, opens, state.RetryAt)
		assert.Zero(t, state.ForcedAt)
	}
	assert.Zero(t, b.calls.Load())
	assert.Zero(t, b.presented.Load())

	b.renew(20 * time.Second)
	state, err := b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Zero(t, state.RetryAt)
	require.NoError(t, b.Refresh(t.Context(), b.id, 3))
	assert.EqualValues(t, 1, b.calls.Load())
}

// TestForcedBesideAnother: the engine finds that another process has just refreshed at a
// caller's word, after this one had looked. The caller loads again.
func TestForcedBesideAnother(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent = true
	b.result = func(refresh.Request) (refresh.Result, error) {
		return refresh.Result{Outcome: perennial.OutcomeThrottled, Code: "too_soon"}, nil
	}
	require.NoError(t, b.of("acme", engine{b}).Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 1, b.presented.Load())
}

// TestFloorEnds: a floor that is about to end is waited for. Else the caller would be
// turned away, and then read that nothing is in the way.
func TestFloorEnds(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.forced("1")
	b.overdue("forced_at", 10*time.Second-floorEnds/2)
	require.NoError(t, b.Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 1, b.calls.Load())
	state, err := b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Zero(t, state.Floored(0))
}
