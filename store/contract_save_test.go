package store_test

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func testSave(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := saveRequest(c, "2")
	req.TokenType, req.Scopes, req.Metadata = "bearer", []string{"a", "b"}, map[string]string{"realm": "9"}
	req.ExpiresAt = c.Open.StartedAt.Add(time.Hour)
	req.RefreshTokenExpiresAt, req.GrantExpiresAt = req.ExpiresAt.Add(time.Hour), req.ExpiresAt.Add(2*time.Hour)
	req.NextRefreshAt = req.ExpiresAt.Add(-time.Minute)
	req.Ledger.HTTPStatus, req.Ledger.RequestID, req.Ledger.LifeLeft = 200, "tid", -1500*time.Millisecond
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.False(t, saved.Recovered)
	got := saved.Connection
	require.Equal(t, b.row(t, c.ID), got)
	require.Equal(t, int64(2), got.Generation)
	require.Equal(t, int64(1), got.RefreshCount)
	require.Equal(t, "sealed access 2", string(got.AccessTokenSealed))
	require.Equal(t, "sealed refresh 2", string(got.RefreshTokenSealed))
	require.Equal(t, digest("2"), got.RefreshTokenDigest)
	require.Equal(t, []string{"a", "b"}, got.Scopes)
	require.Equal(t, req.ExpiresAt, got.ExpiresAt)
	require.Equal(t, req.NextRefreshAt, got.NextRefreshAt)
	require.False(t, got.LastRefreshedAt.Before(c.Open.StartedAt))
	require.True(t, got.Open.IsZero())

	lines, err := b.Attempts(t.Context(), perennial.WorkerAccess(), c.ID, 10)
	require.NoError(t, err)
	require.Equal(t, []perennial.Attempt{req.Ledger}, lines, "the ledger keeps every field")

	// A reply without the other fields keeps their values.
	c = b.claimed(t, got, lease, single)
	req = saveRequest(c, "3")
	req.Metadata = map[string]string{"domain": "eu"}
	saved, err = b.Save(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, saved.Connection.Scopes)
	require.Equal(t, "bearer", saved.Connection.TokenType)
	require.Equal(t, map[string]string{"realm": "9", "domain": "eu"}, saved.Connection.Metadata)
	require.Equal(t, got.RefreshTokenExpiresAt, saved.Connection.RefreshTokenExpiresAt)
	require.Equal(t, got.GrantExpiresAt, saved.Connection.GrantExpiresAt)
	require.Zero(t, saved.Connection.ExpiresAt, "unknown")
}

// testSaveAmbiguous: a save that keeps a refresh token which may be spent says so, in
// the one statement and in the transaction. The next save ends the doubt.
func testSaveAmbiguous(t *testing.T, b *bundle) {
	for _, quick := range []bool{true, false} {
		c := b.claimed(t, b.connect(t), lease, single)
		req := saveRequest(c, "2")
		req.RefreshTokenDigest, req.AmbiguousSince, req.NextAttemptAt = c.RefreshTokenDigest, c.Open.StartedAt, c.Open.StartedAt.Add(time.Second/2)
		if !quick {
			req.Claimed = perennial.Connection{}
		}
		saved, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.True(t, saved.Stored)
		got := b.row(t, c.ID)
		require.Equal(t, got, saved.Connection)
		require.True(t, got.Ambiguous())
		require.Equal(t, req.AmbiguousSince, got.AmbiguousSince)
		require.Equal(t, req.NextAttemptAt, got.NextAttemptAt)
		require.Equal(t, perennial.HealthHealthy, got.Health)

		again, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, saved.Connection, again.Connection, "the answer was lost")

		b.Until(t, got.NextAttemptAt)
		saved, err = b.Save(t.Context(), saveRequest(b.claimed(t, got, lease, single), "3"))
		require.NoError(t, err)
		require.False(t, saved.Connection.Ambiguous())
		require.Zero(t, saved.Connection.NextAttemptAt)
	}
}

func testSaveGuards(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	for name, spoil := range map[string]func() (generation int64, digest string){
		"an older generation": func() (int64, string) { return c.Generation - 1, digest("0") },
		"another token":       func() (int64, string) { return c.Generation, digest("other") },
	} {
		req := saveRequest(c, "2")
		req.Generation, req.Digest = spoil()
		req.NewGeneration = req.Generation + 1
		saved, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.False(t, saved.Stored, name)
		require.Equal(t, c, saved.Connection, name)
	}
	req := saveRequest(c, "2")
	req.NewGeneration = c.Generation
	_, err := b.Save(t.Context(), req)
	requireCode(t, perennial.CodeInvalid, err)
}

// testSaveOverRestored: an unsaved token set of generation 5 is saved over the row of a
// backup.
func testSaveOverRestored(t *testing.T, b *bundle) {
	restored := func(c perennial.Connection) store.SaveRequest {
		req := saveRequest(c, "6")
		req.Generation, req.Digest, req.NewGeneration = 5, digest("5"), 6
		return req
	}
	c := b.connect(t)
	b.Until(t, c.LastRefreshedAt.Add(time.Millisecond)) // SQLite's clock
	c = b.claimed(t, c, lease, single)
	req := restored(c)
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored, "the row is from before")
	require.EqualValues(t, 6, saved.Connection.Generation)
	require.Equal(t, digest("6"), saved.Connection.RefreshTokenDigest)
	require.Zero(t, saved.Connection.Open)
	again, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, again.Stored)
	require.Equal(t, saved.Connection, again.Connection)

	for name, write := range map[string]func(c perennial.Connection){
		"refreshed since": func(c perennial.Connection) {
			_, err := b.Save(t.Context(), saveRequest(c, "2"))
			require.NoError(t, err)
		},
		"reconnected since": func(c perennial.Connection) {
			_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(2, "2"))
			require.NoError(t, err)
		},
		"disconnected since": func(c perennial.Connection) {
			_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusDisconnected, perennial.ReasonNone)
			require.NoError(t, err)
		},
	} {
		c := b.claimed(t, b.connect(t), lease, single)
		write(c)
		before := b.row(t, c.ID)
		saved, err := b.Save(t.Context(), restored(c))
		require.NoError(t, err)
		require.False(t, saved.Stored, name)
		require.Equal(t, before, b.row(t, c.ID), name)
	}
}

func testLateSaveHeals(t *testing.T, b *bundle) {
	// Attempt 1 stalls. Attempt 2 is refused, and the connection becomes
	// reconnect_required.
	first := b.claimed(t, b.connect(t), time.Microsecond, single)
	b.Until(t, first.Open.Deadline)
	second := b.claimed(t, first, lease, single)
	req := closeRequest(second, perennial.OutcomeRevoked)
	req.Failed, req.Suspect, req.FailingAfter, req.FailingCode = true, true, 1, "invalid_grant"
	req.Terminal = perennial.ReasonRotationLost
	row, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	require.Equal(t, perennial.StatusReconnectRequired, row.Status)

	// Then the reply of attempt 1 arrives after all.
	saved, err := b.Save(t.Context(), saveRequest(first, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.True(t, saved.Recovered)
	got := saved.Connection
	require.Equal(t, perennial.StatusActive, got.Status)
	require.Equal(t, perennial.ReasonNone, got.Reason)
	require.Equal(t, perennial.HealthHealthy, got.Health)
	require.Zero(t, got.FailureCount)
	require.Zero(t, got.FailingSince)
	require.Zero(t, got.SuspectSince)
	require.Zero(t, got.ConfirmAt)
	require.Zero(t, got.AmbiguousSince)
	require.Zero(t, got.NextAttemptAt)
}

func testSaveNeverRevives(t *testing.T, b *bundle) {
	for _, status := range []perennial.Status{perennial.StatusPaused, perennial.StatusDisconnected} {
		c := b.claimed(t, b.connect(t), lease, single)
		before, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, status, perennial.ReasonNone)
		require.NoError(t, err)
		saved, err := b.Save(t.Context(), saveRequest(c, "2"))
		require.NoError(t, err)
		require.Equal(t, status, saved.Connection.Status)
		require.False(t, saved.Recovered)
		if status == perennial.StatusDisconnected {
			require.False(t, saved.Stored)
			require.Equal(t, before, saved.Connection)
			req := saveRequest(c, "3")
			req.Digest = "" // as in the wiped row
			saved, err = b.Save(t.Context(), req)
			require.NoError(t, err)
			require.False(t, saved.Stored)
			require.Equal(t, []perennial.Outcome{perennial.OutcomeRefreshed}, b.outcomes(t, c.ID), "the token was presented all the same")
		} else {
			require.True(t, saved.Stored, "a paused connection keeps its tokens alive")
		}
	}
}

func testSaveRepeated(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := saveRequest(c, "2")
	first, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	again, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, again.Stored)
	require.Equal(t, first.Connection, again.Connection, "nothing was written twice")
	require.Len(t, b.outcomes(t, c.ID), 1)

	req.AccessTokenSealed = []byte("another reply")
	other, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.False(t, other.Stored)
	require.Equal(t, first.Connection, other.Connection)
}

// testSaveRefused: an error about a value of the set says so, also one of the driver,
// which refuses some values itself. A lost connection or a missing table is no such
// error.
func testSaveRefused(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	for name, spoil := range map[string]func(*store.SaveRequest){
		"a zero byte":       func(r *store.SaveRequest) { r.Scopes = []string{"a\x00b"} },
		"no UTF-8":          func(r *store.SaveRequest) { r.TokenType = "\xff" },
		"a number too high": func(r *store.SaveRequest) { r.Ledger.Retries = math.MaxInt64 },
		"a year too far":    func(r *store.SaveRequest) { r.ExpiresAt = time.Date(300_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		for _, atOnce := range []bool{true, false} { // in one statement, and in several
			if b.IsSQLite() { // it takes any value, and gives back a row that cannot be read
				c = b.claimed(t, b.connect(t), lease, single)
			}
			req := saveRequest(c, "2")
			if !atOnce {
				req.Claimed = perennial.Connection{}
			}
			spoil(&req)
			_, err := b.Save(t.Context(), req)
			if err == nil && b.IsSQLite() {
				continue
			}
			require.True(t, db.IsDataError(err), "%s: %v", name, err)
		}
	}
	if b.IsSQLite() {
		c = b.claimed(t, b.connect(t), lease, single)
	}
	require.False(t, db.IsDataError(nil))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Save(cancelled, saveRequest(c, "2"))
	require.Error(t, err)
	require.False(t, db.IsDataError(err), "%v", err)
	b.Exec(t, "ALTER TABLE attempts RENAME TO away")
	_, err = b.Save(t.Context(), saveRequest(c, "2"))
	require.Error(t, err)
	require.False(t, db.IsDataError(err), "%v", err)
	b.Exec(t, "ALTER TABLE away RENAME TO attempts")
	_, err = b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
}

func testSaveFailing(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := saveRequest(c, "2")
	req.FailingCode = "no_lifetime"
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, perennial.HealthFailing, saved.Connection.Health)
	require.Equal(t, "no_lifetime", saved.Connection.FailingCode)
	since := saved.Connection.FailingSince
	require.NotZero(t, since)

	req = saveRequest(b.claimed(t, saved.Connection, lease, single), "3")
	req.FailingCode = "no_lifetime"
	saved, err = b.Save(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, since, saved.Connection.FailingSince, "the first time stays")

	saved, err = b.Save(t.Context(), saveRequest(b.claimed(t, saved.Connection, lease, single), "4"))
	require.NoError(t, err)
	require.Equal(t, perennial.HealthHealthy, saved.Connection.Health)
	require.Zero(t, saved.Connection.FailingSince)
}
