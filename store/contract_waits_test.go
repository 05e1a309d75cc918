package store_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// failed closes an attempt of c with a wait of an hour.
func (b *bundle) failed(t *testing.T, c perennial.Connection, own, queued bool) perennial.Connection {
	t.Helper()
	req := closeRequest(b.claimed(t, c, lease, single), perennial.OutcomeUnavailable)
	req.Failed, req.Wait, req.OwnWait, req.Queued = true, time.Hour, own, queued
	row, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	return row
}

// testTwoWaits: each writer of a wait names its owner, and a wait that is not ours
// nobody shortens.
func testTwoWaits(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	hour := stampText(now.Add(time.Hour))
	for name, c := range map[string]struct {
		wait func(c perennial.Connection) perennial.Connection
		own  bool
	}{
		"our own backoff":     {func(c perennial.Connection) perennial.Connection { return b.failed(t, c, true, false) }, true},
		"and for the app":     {func(c perennial.Connection) perennial.Connection { return b.failed(t, c, true, true) }, true},
		"the provider's word": {func(c perennial.Connection) perennial.Connection { return b.failed(t, c, false, false) }, false},
		"to be confirmed": {func(c perennial.Connection) perennial.Connection {
			req := closeRequest(b.claimed(t, c, lease, single), perennial.OutcomeRevoked)
			req.Suspect, req.ConfirmAfter, req.OwnWait = true, time.Hour, true
			row, _, err := b.CloseAttempt(t.Context(), req)
			require.NoError(t, err)
			return row
		}, false},
		"served to the end": {func(c perennial.Connection) perennial.Connection {
			b.Exec(t, "UPDATE connections SET ambiguous_since = created_at, ambiguous_digest = refresh_token_digest, queued_at = created_at, expires_at = "+hour+" WHERE id = '"+c.ID+"'")
			got := b.claim(t, b.row(t, c.ID), lease, perennial.ReplayReuseRevokes)
			require.Equal(t, store.VerdictWait, got.Verdict)
			return got.Connection
		}, false},
		"set aside": {func(c perennial.Connection) perennial.Connection {
			c = b.failed(t, c, true, true)
			row, err := b.MarkSetAside(t.Context(), store.SetAsideRequest{ID: c.ID, Generation: 1, NewGeneration: 2})
			require.NoError(t, err)
			return row
		}, false},
		"after a cut reply": {func(c perennial.Connection) perennial.Connection {
			req := saveRequest(b.claimed(t, c, lease, single), "2")
			req.AmbiguousSince, req.NextAttemptAt = now, now.Add(time.Hour)
			saved, err := b.Save(t.Context(), req)
			require.NoError(t, err)
			return saved.Connection
		}, false},
		"an older program's": {func(c perennial.Connection) perennial.Connection {
			c = b.failed(t, c, true, false)
			b.Exec(t, "UPDATE connections SET next_attempt_at = "+hour+" WHERE id = '"+c.ID+"'")
			return b.row(t, c.ID)
		}, false},
		"an older program's, for the app": {func(c perennial.Connection) perennial.Connection {
			b.Exec(t, "UPDATE connections SET queued_at = created_at, next_attempt_at = "+hour+" WHERE id = '"+c.ID+"'")
			return b.row(t, c.ID)
		}, true},
	} {
		row := c.wait(b.connect(t))
		require.Equal(t, c.own, row.OwnWait(), name)
		require.Equal(t, !c.own, row.NotBefore(now).After(now), name)
		require.True(t, row.WaitsUntil(now).After(now), name)
		got, err := b.EndBackoff(t.Context(), perennial.WorkerAccess(), row.ID)
		if c.own {
			require.NoError(t, err, name)
			require.False(t, got.WaitsUntil(got.UpdatedAt).After(got.UpdatedAt), name)
			b.claimed(t, got, lease, single)
			continue
		}
		requireCode(t, perennial.CodeUnavailable, err)
		require.Equal(t, row, got, name)
		require.Equal(t, row, b.row(t, row.ID), name)
		require.ErrorContains(t, err, row.NotBefore(now).Format(time.RFC3339), name)
	}
	saved, err := b.Save(t.Context(), saveRequest(b.claimed(t, b.ended(t, b.failed(t, b.connect(t), true, true)), lease, single), "2"))
	require.NoError(t, err)
	require.Zero(t, saved.Connection.BackoffUntil)
	require.Zero(t, saved.Connection.NextAttemptAt)
	replaced, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), saved.Connection.ID, "", 2, tokens(3, "3"))
	require.NoError(t, err)
	require.Zero(t, replaced.BackoffUntil)

	paused, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), replaced.ID, []perennial.Status{perennial.StatusActive}, 3, perennial.StatusPaused, "")
	require.NoError(t, err)
	_, err = b.EndBackoff(t.Context(), perennial.WorkerAccess(), paused.ID)
	requireCode(t, perennial.CodeConflict, err)
	_, err = b.EndBackoff(t.Context(), perennial.WorkerAccess(), "missing")
	requireCode(t, perennial.CodeNotFound, err)
}

// ended ends the backoff of c.
func (b *bundle) ended(t *testing.T, c perennial.Connection) perennial.Connection {
	t.Helper()
	c, err := b.EndBackoff(t.Context(), perennial.WorkerAccess(), c.ID)
	require.NoError(t, err)
	return c
}

// testWaitsAreKept: neither the gate, nor the end of a hold, nor a release shortens a
// wait that is not ours.
func testWaitsAreKept(t *testing.T, b *bundle) {
	cs := b.app(t, 5)
	app := cs[0].App
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	hour := stampText(now.Add(time.Hour))

	// The gate reads a row, and an attempt ends before it is parked.
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
	asked := b.failed(t, cs[2], false, false)
	held := b.admitted(t, cs[2])
	require.False(t, held.Admitted)
	require.Equal(t, asked.NextAttemptAt, held.Connection.NextAttemptAt)

	// It waited for its app when the provider's word came.
	b.Exec(t, "UPDATE connections SET queued_at = NULL, backoff_until = NULL, failure_count = 0, next_refresh_at = "+hour+", next_attempt_at = "+hour+" WHERE id = '"+cs[3].ID+"'")
	b.Exec(t, "INSERT INTO waiting (connection_id, app, host, expires_at) VALUES ('"+cs[3].ID+"', '"+app+"', '"+cs[3].Host+"', "+hour+")")
	b.note(t, cs[0], perennial.OutcomeRefreshed, "")
	require.NotContains(t, b.releaseAll(t, app, nil), cs[3].ID)
	require.WithinDuration(t, now.Add(time.Hour), b.row(t, cs[3].ID).NextAttemptAt, time.Second)

	// A refused one was asked to wait, and its hold ends.
	suspect := "UPDATE connections SET suspect_since = created_at, suspect_digest = refresh_token_digest, next_attempt_at = " + hour
	b.Exec(t, suspect+", backoff_until = NULL WHERE id = '"+cs[3].ID+"'")
	b.Exec(t, suspect+", backoff_until = "+hour+" WHERE id = '"+cs[4].ID+"'")
	require.NoError(t, b.ConfirmRefusalHold(t.Context(), app))
	require.WithinDuration(t, now.Add(time.Hour), b.row(t, cs[3].ID).NextAttemptAt, time.Second, "the provider's word")
	require.False(t, b.row(t, cs[3].ID).OwnWait())
	require.WithinDuration(t, now, b.row(t, cs[4].ID).NextAttemptAt, time.Minute, "our own")
	require.True(t, b.row(t, cs[4].ID).OwnWait())
}
