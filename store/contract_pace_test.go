package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// due creates n connections of the app hubspot that are due.
func (b *bundle) due(t *testing.T, n int) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	for i := range n {
		w := tokens(1, "1")
		w.ExpiresAt, w.NextRefreshAt = now.Add(time.Hour), now.Add(-time.Duration(n-i)*time.Second)
		id := uuid.NewString()
		_, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "api.hubapi.com", AccountID: "account-" + id}, w)
		require.NoError(t, err)
		ids[id] = true
	}
	return ids
}

func paceRequest(n, of, limit int, beat int64) store.ClaimDueRequest {
	return store.ClaimDueRequest{Shard: store.Shard{App: "hubspot", N: n, Of: of}, Limit: limit, Lease: lease, Trigger: perennial.TriggerTimer, Beat: beat}
}

func testClaimDue(t *testing.T, b *bundle) {
	got, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 3, 0)) // creates the pacer's row
	require.NoError(t, err)
	require.Empty(t, got.Claims)
	ids := b.due(t, 5)
	b.connect(t) // not due
	late := paceRequest(0, 1, 100, got.Beat)
	late.Late = time.Minute
	got, err = b.ClaimDue(t.Context(), late)
	require.NoError(t, err)
	require.Empty(t, got.Claims, "none is as late")
	page, err := b.Members(t.Context(), late.Shard, "", 4)
	require.NoError(t, err)
	require.Len(t, page, 4)
	page, err = b.Members(t.Context(), late.Shard, page[3].ID, 4)
	require.NoError(t, err)
	require.Len(t, page, 2)
	got, err = b.ClaimDue(t.Context(), paceRequest(0, 1, 3, got.Beat))
	require.NoError(t, err)
	require.Len(t, got.Claims, 3)
	require.EqualValues(t, 1, got.Beat)
	attempts := map[string]bool{}
	for _, claim := range got.Claims {
		c := claim.Connection
		require.True(t, ids[c.ID])
		require.Equal(t, b.row(t, c.ID), c)
		require.Equal(t, c.RefreshTokenDigest, c.Open.Digest)
		require.Equal(t, perennial.TriggerTimer, c.Open.Trigger)
		require.Equal(t, lease, c.Open.Deadline.Sub(c.Open.StartedAt))
		require.Equal(t, store.VerdictBusy, b.claim(t, c, lease, single).Verdict)
		attempts[c.Open.ID] = true
		delete(ids, c.ID)
		saved, err := b.Save(t.Context(), saveRequest(c, "2"))
		require.NoError(t, err)
		require.True(t, saved.Stored)
	}
	require.Len(t, attempts, 3, "each attempt has an id of its own")
	got, err = b.ClaimDue(t.Context(), paceRequest(0, 1, 100, got.Beat))
	require.NoError(t, err)
	require.Len(t, got.Claims, 2)
	got, err = b.ClaimDue(t.Context(), paceRequest(0, 1, 100, got.Beat))
	require.NoError(t, err)
	require.Empty(t, got.Claims)
	require.EqualValues(t, 2, got.Beat, "nothing claimed, no beat")

	// This one waited at the gate for its turn, during a release of the app.
	past, ahead := "'2020-01-01 00:00:00+00:00'", "'2099-01-01 00:00:00+00:00'"
	b.Exec(t, "DELETE FROM connections")
	b.Exec(t, "INSERT INTO apps (app, release_until, updated_at) VALUES ('hubspot', "+ahead+", "+past+")")
	b.due(t, 1)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, "UPDATE connections SET health = 'failing', failing_code = 'circuit_open', queued_at = "+past+", next_refresh_at = "+past+", next_attempt_at = '"+now.Format("2006-01-02 15:04:05.000-07:00")+"'")
	late.Beat = got.Beat
	none, err := b.ClaimDue(t.Context(), late)
	require.NoError(t, err)
	require.Empty(t, none.Claims, "its wait has only just ended")
	b.Exec(t, "UPDATE connections SET next_attempt_at = "+past)
	got, err = b.ClaimDue(t.Context(), paceRequest(0, 1, 100, got.Beat))
	require.NoError(t, err)
	require.Len(t, got.Claims, 1)
	require.True(t, got.Claims[0].Connection.QueuedAt.IsZero())
}

// testClaimDueLeaves: the bulk claim leaves every unusual row to its workflow.
func testClaimDueLeaves(t *testing.T, b *bundle) {
	past, ahead := "'2020-01-01 00:00:00+00:00'", "'2099-01-01 00:00:00+00:00'"
	for what, change := range map[string]string{
		"status":       "UPDATE connections SET status = 'paused'",
		"health":       "UPDATE connections SET health = 'failing', failing_code = 'http_503'",
		"failures":     "UPDATE connections SET failure_count = 1",
		"open attempt": "UPDATE connections SET attempt_id = 'x', attempt_deadline = " + past,
		"ambiguous":    "UPDATE connections SET ambiguous_since = " + past,
		"suspect":      "UPDATE connections SET suspect_since = " + past,
		"waits":        "UPDATE connections SET next_attempt_at = " + ahead,
		"another app":  "UPDATE connections SET app = 'other'",
		"circuit":      "INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'api.hubapi.com', 'unavailable', " + past + ")",
		"slowed":       "INSERT INTO apps (app, slow_until, updated_at) VALUES ('hubspot', " + ahead + ", " + past + ")",
	} {
		for _, table := range []string{"connections", "circuits", "apps"} {
			b.Exec(t, "DELETE FROM "+table)
		}
		b.due(t, 1)
		_, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 1, 0)) // creates the pacer's row
		require.NoError(t, err)
		b.Exec(t, "UPDATE connections SET attempt_id = '', attempt_deadline = NULL")
		b.Exec(t, change)
		if !b.IsSQLite() {
			n, err := b.Due(t.Context(), store.Shard{App: "hubspot", Of: 1}, 10)
			require.NoError(t, err)
			require.Zero(t, n, "%s: no slot is to be taken for it", what)
		}
		got, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 10, 0))
		require.NoError(t, err, what)
		require.Empty(t, got.Claims, what)
	}
}

// testShards: each connection is in one shard, and two pacers of one shard share it.
func testShards(t *testing.T, b *bundle) {
	if b.IsSQLite() {
		return // a development database has only one process
	}
	ids := b.due(t, 40)
	seen := map[string]int{}
	const shards = 3
	for n := range shards {
		_, err := b.ClaimDue(t.Context(), paceRequest(n, shards, 1, 0))
		require.NoError(t, err)
	}
	results := make(chan store.ClaimDueResult, 2*shards)
	for n := range shards {
		for range 2 {
			go func() {
				got, err := b.ClaimDue(t.Context(), paceRequest(n, shards, 100, 0))
				if err != nil {
					t.Error(err)
				}
				results <- got
			}()
		}
	}
	for range 2 * shards {
		for _, claim := range (<-results).Claims {
			seen[claim.Connection.ID]++
		}
	}
	require.Len(t, seen, len(ids))
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
}

// testRewind: a database that was restored to an earlier state gives a pacer nothing
// until its rows are marked: each token may be spent, and no generation is used twice.
func testRewind(t *testing.T, b *bundle) {
	b.due(t, 2)
	_, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 1, 0))
	require.NoError(t, err)
	for _, beat := range []int64{7, 8} { // its row is behind or missing
		if beat == 8 {
			b.Exec(t, "DELETE FROM pacers")
		}
		got, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 10, beat))
		require.NoError(t, err)
		require.True(t, got.RolledBack)
		require.Empty(t, got.Claims)
	}
	_, err = b.ClaimDue(t.Context(), paceRequest(0, 1, 10, 0))
	require.NoError(t, err)
	shard := store.Shard{App: "hubspot", N: 0, Of: 1}
	b.Exec(t, "UPDATE pacers SET beat = 0")
	b.Exec(t, "UPDATE connections SET attempt_id = '', attempt_deadline = NULL, attempt_started_at = NULL")
	marked, err := b.MarkRolledBack(t.Context(), shard, 7)
	require.NoError(t, err)
	require.EqualValues(t, 2, marked)
	marked, err = b.MarkRolledBack(t.Context(), shard, 7)
	require.NoError(t, err)
	require.Zero(t, marked, "once")
	rows, err := b.List(t.Context(), perennial.WorkerAccess(), store.Filter{App: "hubspot"})
	require.NoError(t, err)
	for _, c := range rows {
		require.True(t, c.Ambiguous())
		require.Greater(t, c.NextGeneration(), int64(1000))
	}
	got, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 10, 7))
	require.NoError(t, err)
	require.False(t, got.RolledBack)
	require.Empty(t, got.Claims, "their own workflows look after them")
}

func testTakeSlots(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	first, gap, taken, err := b.TakeSlots(t.Context(), "hubspot", 10, 0, time.Second, 3)
	require.NoError(t, err)
	require.Equal(t, 3, taken)
	require.Equal(t, 120*time.Millisecond, gap)
	require.False(t, first.Before(now))
	second, _, taken, err := b.TakeSlots(t.Context(), "hubspot", 10, 0, time.Second, 100)
	require.NoError(t, err)
	require.Equal(t, first.Add(3*gap).Truncate(time.Microsecond), second, "after those that were taken")
	require.LessOrEqual(t, taken, 7)
	require.Positive(t, taken)
	// A connection that asks for itself gets its slot after them.
	c := b.connect(t)
	gate, err := b.Admit(t.Context(), store.AdmitRequest{Connection: c, Rate: 10, Patience: time.Minute, Interval: time.Second})
	require.NoError(t, err)
	require.True(t, gate.Admitted)
	require.False(t, gate.SlotAt.Before(second.Add(time.Duration(taken)*gap).Truncate(time.Millisecond)))

	ahead := "'2099-01-01 00:00:00+00:00'"
	b.Exec(t, "UPDATE apps SET slot_at = NULL, release_until = "+ahead)
	_, _, taken, err = b.TakeSlots(t.Context(), "hubspot", 10, 0, time.Second, 3)
	require.NoError(t, err)
	require.Equal(t, 3, taken, "while connections are let go pacers take their part")
	for _, waits := range []string{"slow_until", "backlog_at"} {
		b.Exec(t, "UPDATE apps SET slot_at = NULL, slow_until = NULL, backlog_at = NULL")
		b.Exec(t, "UPDATE apps SET "+waits+" = "+ahead)
		_, _, taken, err = b.TakeSlots(t.Context(), "hubspot", 10, 0, time.Second, 3)
		require.NoError(t, err)
		require.Zero(t, taken, waits)
	}
}

func testDigest(t *testing.T, b *bundle) {
	start, err := b.Now(t.Context())
	require.NoError(t, err)
	c := b.connect(t)
	for i := range 3 {
		c = b.claimed(t, c, lease, single)
		req := saveRequest(c, fmt.Sprint(i+2))
		req.Ledger.LifeLeft = time.Duration(10+i) * time.Second
		saved, err := b.Save(t.Context(), req)
		require.NoError(t, err)
		c = saved.Connection
	}
	c = b.claimed(t, c, lease, single)
	close := closeRequest(c, perennial.OutcomeUnknown)
	close.Ledger.LifeLeft = -time.Second
	_, _, err = b.CloseAttempt(t.Context(), close)
	require.NoError(t, err)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	got, err := b.SummarizeLedger(t.Context(), c.ID, start, now)
	require.NoError(t, err)
	require.Equal(t, store.LedgerSummary{From: start, To: now, Refreshed: 3, Failed: 1, MinLife: -time.Second}, got)
	got, err = b.SummarizeLedger(t.Context(), c.ID, now, now)
	require.NoError(t, err)
	require.Zero(t, got.Refreshed+got.Failed)
}
