package store_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twice lets two attempts of a connection get tokens. It returns the row, which has the
// set "first", and the request to save the set called which.
func (b *bundle) twice(t *testing.T, c perennial.Connection, which string) (perennial.Connection, store.SaveRequest) {
	t.Helper()
	slow := b.claimed(t, c, lease, perennial.ReplayGrace)
	b.set(t, c.ID, "attempt_deadline", "attempt_started_at") // its process stands still
	saved, err := b.Save(t.Context(), saveRequest(b.claimed(t, c, lease, perennial.ReplayGrace), "first"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	req := saveRequest(slow, which)
	req.AccessTokenSealed = []byte("sealed access of the second")
	req.ExpiresAt = saved.Connection.LastRefreshedAt.Add(time.Hour)
	late, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.False(t, late.Stored)
	return late.Connection, req
}

func (b *bundle) spare(t *testing.T, id string) (store.Spare, bool) {
	t.Helper()
	spare, ok, err := b.Spare(t.Context(), id)
	require.NoError(t, err)
	return spare, ok
}

func (b *bundle) keeps(t *testing.T, req store.SaveRequest) bool {
	t.Helper()
	kept, err := b.KeepSpare(t.Context(), req)
	require.NoError(t, err)
	return kept
}

// testSpare: the set that came second is kept as it is, until the first has worked.
func testSpare(t *testing.T, b *bundle) {
	c, req := b.twice(t, b.connect(t), "second")
	require.True(t, b.keeps(t, req))
	got, ok := b.spare(t, c.ID)
	require.True(t, ok)
	require.Empty(t, fill.Zeros(got))
	require.WithinDuration(t, c.UpdatedAt, got.ReceivedAt, time.Minute)
	require.True(t, req.ExpiresAt.Truncate(time.Microsecond).Equal(got.ExpiresAt))
	got.ExpiresAt, got.ReceivedAt = time.Time{}, time.Time{}
	assert.Equal(t, store.Spare{ConnectionID: c.ID, Generation: 2, RowDigest: digest("first"), AttemptID: req.AttemptID, AccessTokenSealed: req.AccessTokenSealed,
		RefreshTokenSealed: req.RefreshTokenSealed, RefreshTokenDigest: digest("second")}, got)
	require.True(t, b.keeps(t, req), "asked again")
	_, err := b.Prune(t.Context(), time.Hour, 1000)
	require.NoError(t, err)
	require.Equal(t, 1, b.Number(t, "SELECT count(*) FROM spare_sets WHERE connection_id = '"+c.ID+"'"), "still needed")

	saved, err := b.Save(t.Context(), saveRequest(b.claimed(t, c, lease, perennial.ReplayGrace), "third"))
	require.NoError(t, err)
	_, ok = b.spare(t, c.ID)
	require.False(t, ok, "the first has worked")
	require.False(t, b.keeps(t, req), "and stays so")
	_, err = b.Prune(t.Context(), time.Hour, 1000)
	require.NoError(t, err)
	require.Zero(t, b.Number(t, "SELECT count(*) FROM spare_sets WHERE connection_id = '"+c.ID+"'"))

	c, req = b.twice(t, saved.Connection, "fourth")
	require.True(t, b.keeps(t, req))
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	require.Zero(t, b.Number(t, "SELECT count(*) FROM spare_sets WHERE connection_id = '"+c.ID+"'"), "wiped")
	require.False(t, b.keeps(t, req), "of a disconnected one")
}

// testNoSpare: what is no second set for one refresh token is not kept.
func testNoSpare(t *testing.T, b *bundle) {
	_, same := b.twice(t, b.connect(t), "first")
	require.False(t, b.keeps(t, same), "the same pair")

	c := b.connect(t)
	req := saveRequest(b.claimed(t, c, lease, perennial.ReplayGrace), "late")
	_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", c.Generation, tokens(c.Generation+1, "reconnected"))
	require.NoError(t, err)
	require.False(t, b.keeps(t, req), "a reconnect's tokens are of another grant")

	c = b.connect(t)
	b.claimed(t, c, lease, perennial.ReplayGrace)
	b.set(t, c.ID, "attempt_deadline", "attempt_started_at")
	req = saveRequest(b.claimed(t, c, lease, perennial.ReplayGrace), "late")
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", c.Generation, tokens(c.Generation+1, "reconnected"))
	require.NoError(t, err)
	require.False(t, b.keeps(t, req), "also after an attempt that was lost")

	missing := saveRequest(c, "x")
	missing.ID = "con_missing"
	_, err = b.KeepSpare(t.Context(), missing)
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
}
