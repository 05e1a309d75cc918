package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

// testQuickClaim: the one statement takes what the gate and the fence would give,
// and nothing else. A database without it says so.
func testQuickClaim(t *testing.T, b *bundle) {
	c := b.connect(t)
	req := claimRequest(c, hold, single)
	got, ok, err := b.QuickClaim(t.Context(), c.App, req)
	require.NoError(t, err)
	if b.sqlite() {
		require.False(t, ok)
		return
	}
	require.True(t, ok)
	require.Equal(t, store.VerdictClaimed, got.Verdict)
	require.Equal(t, b.row(t, c.ID), got.Connection)
	again := b.claim(t, c, hold, single)
	require.Equal(t, store.VerdictBusy, again.Verdict)
	require.Equal(t, again.RetryAt, got.Connection.Open.StartedAt.Add(hold))
	same, err := b.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, store.VerdictClaimed, same.Verdict, "a claim whose answer was lost")

	// The same columns as the fence writes.
	other := b.connect(t)
	want, have := b.claimed(t, other, hold, single), got.Connection
	for _, c := range []*perennial.Connection{&want, &have} {
		c.ID, c.AccountID, c.Open.ID, c.Open.StartedAt, c.Open.Deadline = "", "", "", time.Time{}, time.Time{}
		c.CreatedAt, c.UpdatedAt, c.LastRefreshedAt = time.Time{}, time.Time{}, time.Time{}
	}
	require.Equal(t, want, have)
}

// testQuickClaimLeaves: each thing that the gate or the fence would look at keeps
// the statement off.
func testQuickClaimLeaves(t *testing.T, b *bundle) {
	if b.sqlite() {
		return // it never applies there
	}
	for what, change := range map[string]string{
		"status":         "UPDATE connections SET status = 'paused'",
		"health":         "UPDATE connections SET health = 'failing'",
		"failures":       "UPDATE connections SET failure_count = 1",
		"open attempt":   "UPDATE connections SET attempt_id = 'x', attempt_deadline = now() - interval '1 minute'",
		"ambiguous":      "UPDATE connections SET ambiguous_since = now()",
		"suspect":        "UPDATE connections SET suspect_since = now()",
		"confirm at":     "UPDATE connections SET confirm_at = now() - interval '1 minute'",
		"next attempt":   "UPDATE connections SET next_attempt_at = now() + interval '1 minute'",
		"generation":     "UPDATE connections SET generation = 2",
		"another app":    "UPDATE connections SET app = 'other'",
		"circuit open":   "INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'api.hubapi.com', 'unavailable', now())",
		"failures noted": "INSERT INTO circuits (app, host, failed, updated_at) VALUES ('hubspot', 'api.hubapi.com', '[\"x\"]', now())",
		"host slowed":    "INSERT INTO circuits (app, host, slow_until, updated_at) VALUES ('hubspot', 'api.hubapi.com', now() + interval '1 minute', now())",
		"app slowed":     "INSERT INTO apps (app, slow_until, updated_at) VALUES ('hubspot', now() + interval '1 minute', now())",
		"app released":   "INSERT INTO apps (app, release_until, updated_at) VALUES ('hubspot', now() + interval '1 minute', now())",
	} {
		b.exec(t, "TRUNCATE connections, circuits, apps")
		c := b.connect(t)
		b.exec(t, change)
		before := b.row(t, c.ID)
		_, ok, err := b.QuickClaim(t.Context(), "hubspot", claimRequest(c, hold, single))
		require.NoError(t, err, what)
		require.False(t, ok, what)
		require.Equal(t, before, b.row(t, c.ID), what)
	}
	// What concerns another app or host, or is over, does not.
	b.exec(t, "TRUNCATE connections, circuits, apps")
	b.exec(t, "INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'elsewhere', 'unavailable', now()), ('other', 'api.hubapi.com', 'unavailable', now())")
	b.exec(t, "INSERT INTO apps (app, slow_until, updated_at) VALUES ('hubspot', now() - interval '1 second', now()), ('other', now() + interval '1 minute', now())")
	c := b.connect(t)
	b.exec(t, "UPDATE connections SET next_attempt_at = now() - interval '1 second'")
	_, ok, err := b.QuickClaim(t.Context(), "hubspot", claimRequest(c, hold, single))
	require.NoError(t, err)
	require.True(t, ok)
}

// testQuickSave: the one statement and the transaction leave the same row and the
// same ledger.
func testQuickSave(t *testing.T, b *bundle) {
	var rows []perennial.Connection
	var lines []perennial.Attempt
	start, err := b.Now(t.Context())
	require.NoError(t, err)
	start = start.Truncate(time.Microsecond)
	for _, quick := range []bool{true, false} {
		c := b.claimed(t, b.connect(t), hold, single)
		req := saveRequest(c, "2")
		req.TokenType, req.Scopes, req.Metadata = "bearer", []string{"a", "b"}, map[string]string{"realm": "9"}
		req.ExpiresAt, req.NextRefreshAt = start.Add(time.Hour), start.Add(50*time.Minute)
		req.RefreshTokenExpiresAt, req.GrantExpiresAt = start.Add(100*24*time.Hour), start.Add(6*24*time.Hour)
		req.Ledger.HTTPStatus, req.Ledger.RequestID, req.Ledger.LifeLeft, req.Ledger.Lateness = 200, "tid", -1500*time.Millisecond, time.Second
		if !quick {
			req.Claimed = perennial.Connection{}
		}
		saved, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		require.True(t, saved.Stored)
		got := b.row(t, c.ID)
		require.Equal(t, got, saved.Connection)
		require.False(t, got.LastRefreshedAt.Before(c.Open.StartedAt))
		require.Equal(t, got.LastRefreshedAt, got.UpdatedAt)
		got.ID, got.AccountID, got.CreatedAt, got.UpdatedAt, got.LastRefreshedAt = "", "", time.Time{}, time.Time{}, time.Time{}
		rows = append(rows, got)
		ledger, err := b.Attempts(t.Context(), c.ID, 10)
		require.NoError(t, err)
		require.Len(t, ledger, 1)
		require.Equal(t, c.Open.ID, ledger[0].ID)
		ledger[0].ID, ledger[0].ConnectionID, ledger[0].StartedAt = "", "", time.Time{}
		lines = append(lines, ledger[0])
		events, err := b.Events(t.Context(), c.ID, 10)
		require.NoError(t, err)
		require.Len(t, events, 1, "connected")
	}
	require.Equal(t, rows[1], rows[0])
	require.Equal(t, lines[1], lines[0])
}

// testQuickSaveLeaves: a row that somebody else has written since the claim is
// saved by the transaction, which looks at it.
func testQuickSaveLeaves(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), hold, single)
	_, err := b.SetStatus(t.Context(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusPaused, "")
	require.NoError(t, err)
	saved, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.Equal(t, perennial.StatusPaused, b.row(t, c.ID).Status, "never revived")

	// The sending mark is our own write.
	c = b.claimed(t, b.connect(t), hold, perennial.ReplayReuseRevokes)
	require.NoError(t, b.MarkSending(t.Context(), c.ID, c.Open.ID))
	require.True(t, b.row(t, c.ID).Open.Sent)
	if !b.sqlite() {
		require.Equal(t, c.UpdatedAt, b.row(t, c.ID).UpdatedAt)
	}
	saved, err = b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.True(t, b.row(t, c.ID).Open.IsZero())
}
