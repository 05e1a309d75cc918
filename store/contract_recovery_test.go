package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// failingFor makes connections that fail with http_403 since the given time, and wait for
// 20 hours more.
func (b *bundle) failingFor(t *testing.T, cs []perennial.Connection, since time.Duration) {
	t.Helper()
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	until := stampText(now.Add(20 * time.Hour))
	for _, c := range cs {
		b.Exec(t, "UPDATE connections SET health = 'failing', failing_code = 'http_403', failure_count = 30, failing_since = "+stampText(now.Add(-since))+
			", next_attempt_at = "+until+", backoff_until = "+until+" WHERE id = '"+c.ID+"'")
	}
}

// recovered refreshes a connection, past any wait, and reports that to the gate.
func (b *bundle) recovered(t *testing.T, c perennial.Connection, rate float64) {
	t.Helper()
	b.set(t, c.ID, "next_attempt_at", "NULL")
	c = b.claimed(t, b.row(t, c.ID), lease, single)
	saved, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: c, Outcome: perennial.OutcomeRefreshed, Interval: interval, Rate: rate}))
}

// waits returns for how long a connection still waits, in seconds.
func (b *bundle) waits(t *testing.T, id string) float64 {
	t.Helper()
	c, now, err := b.Get(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	return max(c.WaitsUntil(now).Sub(now), 0).Seconds()
}

const manySeconds = 19 * 3600.0

// testRecovery: the recovery of a connection that failed for long ends the waits of those
// that failed alike for as long, and nobody else's.
func testRecovery(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	cs := b.with(t, app, "acme", 12, false)
	first, second, third, alike, queued := cs[0], cs[1], cs[2], cs[3], cs[4]
	asked, otherCode, newly, otherHost, open, never := cs[5], cs[6], cs[7], cs[8], cs[9], cs[10]
	b.failingFor(t, cs, 40*time.Hour)
	b.failingFor(t, []perennial.Connection{newly}, 23*time.Hour)
	b.set(t, queued.ID, "queued_at", "created_at")
	b.set(t, queued.ID, "backoff_until", "NULL")
	b.set(t, asked.ID, "backoff_until", "NULL")
	b.set(t, otherCode.ID, "failing_code", "'http_500'")
	b.set(t, otherHost.ID, "host", "'elsewhere'")
	b.set(t, open.ID, "attempt_id", "'a'")
	b.set(t, never.ID, "failure_count", "0")
	before := map[string]perennial.Connection{}
	for _, c := range []perennial.Connection{asked, otherCode, newly, otherHost, open, never} {
		before[c.ID] = b.row(t, c.ID)
	}

	b.recovered(t, newly, 0)
	require.Greater(t, b.waits(t, alike.ID), manySeconds, "it had not failed for long")
	delete(before, newly.ID)

	b.recovered(t, first, 0)
	for _, c := range []perennial.Connection{second, third, alike, queued} {
		require.Less(t, b.waits(t, c.ID), 5.0)
		require.True(t, b.row(t, c.ID).OwnWait())
	}
	for id, c := range before {
		require.Equal(t, c, b.row(t, id))
	}

	b.failingFor(t, []perennial.Connection{third, alike}, 40*time.Hour)
	b.recovered(t, second, 0)
	require.Greater(t, b.waits(t, alike.ID), manySeconds, "once in ten minutes")
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, "UPDATE circuits SET recovered_at = "+stampText(now.Add(-11*time.Minute))+" WHERE app = '"+app+"'")
	b.recovered(t, cs[11], 0)
	require.Less(t, b.waits(t, alike.ID), 5.0)

	b.failingFor(t, []perennial.Connection{third, alike}, 40*time.Hour)
	b.Exec(t, "UPDATE circuits SET recovered_at = NULL WHERE app = '"+app+"'")
	well := b.with(t, app, "other", 1, false)[0]
	b.recovered(t, well, 0)
	require.Greater(t, b.waits(t, alike.ID), manySeconds, "it was well")
}

// testRecoveryRate: a recovery lets through as many as their share of the app's limit
// allows in ten minutes, one after another, those first that were tried the longest ago. It
// makes nobody wait longer.
func testRecoveryRate(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	cs := b.with(t, app, "acme", 9, false)
	b.failingFor(t, cs, 40*time.Hour)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	for i, c := range cs {
		b.set(t, c.ID, "updated_at", stampText(now.Add(-time.Duration(i)*time.Minute))) // the last was tried first
	}
	soon := stampText(now.Add(30 * time.Second))
	b.Exec(t, "UPDATE connections SET next_attempt_at = "+soon+", backoff_until = "+soon+" WHERE id = '"+cs[5].ID+"'")
	b.recovered(t, cs[0], 0.12) // a share of one in 100 s
	for i, want := range map[int]float64{8: 0, 7: 100, 6: 200, 5: 30, 4: 400, 3: 500} {
		require.InDelta(t, want, b.waits(t, cs[i].ID), 20, i)
	}
	for _, c := range cs[1:3] {
		require.Greater(t, b.waits(t, c.ID), manySeconds, "the next recovery's")
	}
}
