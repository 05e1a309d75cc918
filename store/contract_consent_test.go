package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// neverWorked reports whether the confirmed refusal of c is kept back with its cohort.
func (b *bundle) neverWorked(t *testing.T, c perennial.Connection) bool {
	t.Helper()
	c = b.refuse(t, c)
	if c.Status == perennial.StatusReconnectRequired {
		return false
	}
	require.Equal(t, perennial.StatusActive, c.Status)
	require.Equal(t, store.CodeNeverWorked, c.FailingCode)
	require.True(t, c.OwnWait() && c.NextAttemptAt.After(c.UpdatedAt))
	return true
}

// testConsents: if most first refreshes after consent are refused, no connection goes to
// reconnect_required before an operator has confirmed that.
func testConsents(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	old := b.with(t, app, "old", 90, false) // so that the refusal hold needs more
	for _, c := range old {
		b.set(t, c.ID, "refresh_count", "100")
	}
	b.attempted(t, old[:10], perennial.OutcomeRefreshed)
	acme, other := b.with(t, app, "acme", 5, false), b.with(t, app, "other", 3, false)
	imported := b.with(t, app, "imports", 1, true)
	b.attempted(t, acme[:3], perennial.OutcomeRefreshed)
	for _, c := range []perennial.Connection{acme[3], acme[4], other[0], imported[0]} {
		b.refuse(t, c)
	}
	require.False(t, b.neverWorked(t, acme[3]), "three of six")
	b.Exec(t, "UPDATE attempts SET started_at = '2020-01-01 00:00:00+00:00' WHERE connection_id = '"+acme[0].ID+"'")
	b.attempted(t, acme[:1], perennial.OutcomeRefreshed)
	require.True(t, b.neverWorked(t, acme[4]), "three of five: one was refreshed before this hour")
	require.True(t, b.neverWorked(t, other[0]))
	require.True(t, b.state(t, app).ConsentHold)
	require.Empty(t, b.state(t, app).ImportHolds)
	require.False(t, b.state(t, app).RefusalHold)
	b.refuse(t, other[1])
	require.True(t, b.neverWorked(t, other[1]), "those that come later too")
	require.False(t, b.neverWorked(t, imported[0]), "an import is another cohort")
	b.refuse(t, acme[0])
	require.False(t, b.neverWorked(t, acme[0]), "it has worked")

	c, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), old[0].ID, "", b.row(t, old[0].ID).Generation, tokens(3, "3"))
	require.NoError(t, err)
	b.refuse(t, c)
	require.True(t, b.neverWorked(t, c), "it was reconnected, and not refreshed since")

	raised := 0
	events, err := b.Events(t.Context(), "", 200)
	require.NoError(t, err)
	for _, e := range events {
		if e.App == app && e.Type == perennial.EventHoldRaised {
			raised++
			require.Equal(t, "3 of 5 first refreshes after consent were refused", e.Data.Code)
			require.Equal(t, []string{"acme", "other"}, e.Data.Tenants)
			require.Equal(t, 3, e.Data.Connections)
			require.Empty(t, e.TenantID, "it is for operators")
		}
	}
	require.Equal(t, 1, raised)

	require.NoError(t, b.ConfirmRefusalHold(t.Context(), app))
	require.False(t, b.state(t, app).ConsentHold)
	require.False(t, b.neverWorked(t, acme[4]), "they are real")
}

// testUnprovenShare: while others wait for rate slots, an import takes none but those of
// its share, and no place in the queue.
func testUnprovenShare(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	proven, imported := b.with(t, app, "acme", 2, false), b.with(t, app, "acme", 4, true)
	ask := func(c perennial.Connection) store.Admission {
		a, err := b.Admit(t.Context(), store.AdmitRequest{Connection: b.row(t, c.ID), Rate: 4, Interval: interval, Patience: time.Second / 2, Lead: 50 * time.Millisecond})
		require.NoError(t, err)
		return a
	}
	require.True(t, ask(imported[0]).Admitted, "nobody waits")
	_, ok, err := b.FastAdmit(t.Context(), store.FastAdmitRequest{ID: imported[0].ID, Generation: 1, App: app, Rate: 4, Patience: time.Second / 2})
	require.NoError(t, err)
	require.False(t, ok)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, "UPDATE apps SET slot_at = NULL, backlog_at = "+stampText(now.Add(time.Minute))+" WHERE app = '"+app+"'")
	require.True(t, ask(imported[1]).Admitted, "their share")
	b.Exec(t, "UPDATE apps SET unproven_slot_at = "+stampText(now.Add(time.Minute))+" WHERE app = '"+app+"'")
	b.set(t, imported[2].ID, "queued_at", "created_at") // it failed, or waited for a circuit
	for _, c := range imported[2:] {
		a := ask(c)
		require.False(t, a.Admitted)
		require.Equal(t, store.CodeRateLimit, a.Code)
		require.True(t, a.RetryAt.After(now.Add(59*time.Second)))
	}
	next := ask(proven[0])
	require.False(t, next.Admitted)
	require.WithinDuration(t, now.Add(time.Minute), next.RetryAt, time.Second, "it is the first in the queue")
	b.set(t, proven[1].ID, "queued_at", "created_at")
	require.True(t, ask(proven[1]).Admitted)
}

// testConsentsOfTenant: a tenant that revokes its own new grants keeps nothing back, in an
// app with other tenants; and refusals of more than an hour ago do not count.
func testConsentsOfTenant(t *testing.T, b *bundle) {
	for others, held := range map[int]bool{0: true, 40: false} {
		app := "app-" + uuid.NewString()
		own := b.with(t, app, "own", 4, false)
		b.with(t, app, "others", others, false)
		for _, c := range own[:3] {
			b.refuse(t, c)
		}
		b.Exec(t, "UPDATE apps SET hold_terminal = false WHERE app = '"+app+"'")
		require.Equal(t, held, b.neverWorked(t, own[0]), others)
	}
	app := "app-" + uuid.NewString()
	cs := b.with(t, app, "acme", 4, false)
	for _, c := range cs[:3] {
		b.refuse(t, c)
	}
	b.Exec(t, "UPDATE apps SET hold_terminal = false WHERE app = '"+app+"'")
	b.Exec(t, "UPDATE first_refusals SET refused_at = '2020-01-01 00:00:00+00:00' WHERE connection_id = '"+cs[0].ID+"'")
	require.False(t, b.neverWorked(t, cs[1]))
}
