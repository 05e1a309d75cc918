package store_test

import (
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testFastClaim: the one statement claims what the gate and the fence would admit, and
// nothing else. A database without the statement says so.
func testFastClaim(t *testing.T, b *bundle) {
	c := b.connect(t)
	req := claimRequest(c, lease, single)
	got, ok, err := b.FastClaim(t.Context(), c.App, req)
	require.NoError(t, err)
	if b.IsSQLite() {
		require.False(t, ok)
		return
	}
	require.True(t, ok)
	require.Equal(t, store.VerdictClaimed, got.Verdict)
	require.Equal(t, b.row(t, c.ID), got.Connection)
	again := b.claim(t, c, lease, single)
	require.Equal(t, store.VerdictBusy, again.Verdict)
	require.Equal(t, again.RetryAt, got.Connection.Open.StartedAt.Add(lease))
	same, err := b.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, store.VerdictClaimed, same.Verdict, "a claim whose answer was lost")

	// It writes the same columns as the fence.
	other := b.connect(t)
	want, have := b.claimed(t, other, lease, single), got.Connection
	for _, c := range []*perennial.Connection{&want, &have} {
		c.ID, c.AccountID, c.Open.ID, c.Open.StartedAt, c.Open.Deadline = "", "", "", time.Time{}, time.Time{}
		c.CreatedAt, c.UpdatedAt, c.LastRefreshedAt = time.Time{}, time.Time{}, time.Time{}
	}
	require.Equal(t, want, have)
}

// testFastClaimLeaves: each thing that the gate or the fence would check makes the
// statement claim nothing.
func testFastClaimLeaves(t *testing.T, b *bundle) {
	if b.IsSQLite() {
		return // the statement never applies there
	}
	for what, change := range map[string]string{
		"status":       "UPDATE connections SET status = 'paused'",
		"health":       "UPDATE connections SET health = 'failing', failing_code = 'http_503'",
		"failures":     "UPDATE connections SET failure_count = 1",
		"open attempt": "UPDATE connections SET attempt_id = 'x', attempt_deadline = now() - interval '1 minute'",
		"ambiguous":    "UPDATE connections SET ambiguous_since = now()",
		"suspect":      "UPDATE connections SET suspect_since = now()",
		"confirm at":   "UPDATE connections SET confirm_at = now() - interval '1 minute'",
		"next attempt": "UPDATE connections SET next_attempt_at = now() + interval '1 minute'",
		"generation":   "UPDATE connections SET generation = 2",
		"another app":  "UPDATE connections SET app = 'other'",
		"circuit open": "INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'api.hubapi.com', 'unavailable', now())",
		"host slowed":  "INSERT INTO circuits (app, host, slow_until, updated_at) VALUES ('hubspot', 'api.hubapi.com', now() + interval '1 minute', now())",
		"app slowed":   "INSERT INTO apps (app, slow_until, updated_at) VALUES ('hubspot', now() + interval '1 minute', now())",
	} {
		b.Exec(t, "TRUNCATE connections, circuits, apps")
		c := b.connect(t)
		b.Exec(t, change)
		before := b.row(t, c.ID)
		_, ok, err := b.FastClaim(t.Context(), "hubspot", claimRequest(c, lease, single))
		require.NoError(t, err, what)
		require.False(t, ok, what)
		require.Equal(t, before, b.row(t, c.ID), what)
	}
	// A hold or circuit that is over, or of another app or host, does not. Nor do
	// failures of other connections.
	b.Exec(t, "TRUNCATE connections, circuits, apps")
	b.Exec(t, `INSERT INTO circuits (app, host, failed, failed_reason, failed_since, updated_at) VALUES ('hubspot', 'api.hubapi.com', '["x"]', 'unavailable', now(), now())`)
	b.Exec(t, "INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'elsewhere', 'unavailable', now()), ('other', 'api.hubapi.com', 'unavailable', now())")
	b.Exec(t, "INSERT INTO apps (app, slow_until, updated_at) VALUES ('hubspot', now() - interval '1 second', now()), ('other', now() + interval '1 minute', now())")
	c := b.connect(t)
	b.Exec(t, "UPDATE connections SET next_attempt_at = now() - interval '1 second'")
	_, ok, err := b.FastClaim(t.Context(), "hubspot", claimRequest(c, lease, single))
	require.NoError(t, err)
	require.True(t, ok)

	// Nor does a wait at the gate that is over, during a release of the app.
	b.Exec(t, "TRUNCATE connections, apps")
	b.Exec(t, "INSERT INTO apps (app, release_until, updated_at) VALUES ('hubspot', now() + interval '1 minute', now())")
	c = b.connect(t)
	b.Exec(t, "UPDATE connections SET health = 'failing', failing_code = 'circuit_open', failing_since = now(), expires_at = now(), queued_at = now(), next_attempt_at = now()")
	claim, ok, err := b.FastClaim(t.Context(), "hubspot", claimRequest(c, lease, single))
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, claim.Connection.QueuedAt.IsZero())
	saved, err := b.Save(t.Context(), saveRequest(claim.Connection, "2"))
	require.NoError(t, err)
	require.Equal(t, perennial.HealthHealthy, saved.Connection.Health)
}

// testFastAdmit: the statement gives out slots and turns as [store.RateSlots] does,
// whatever the rows are, and writes a turn into the row.
func testFastAdmit(t *testing.T, b *bundle) {
	ctx := t.Context()
	c := b.connect(t)
	req := store.FastAdmitRequest{ID: c.ID, Generation: c.Generation, App: c.App, Rate: 7, Patience: 500 * time.Millisecond, Lead: 50 * time.Millisecond}
	_, ok, err := b.FastAdmit(ctx, req)
	require.NoError(t, err)
	require.False(t, ok, "the app has no row yet")
	if b.IsSQLite() {
		return // the statement never applies there
	}
	ahead := map[string]time.Duration{"NULL": 0, "past": -time.Hour, "near": 300 * time.Millisecond, "far": time.Hour}
	at := func(d time.Duration) string {
		if d == 0 {
			return "NULL"
		}
		return fmt.Sprintf("now() + %d * interval '1 microsecond'", d.Microseconds())
	}
	for slot, slotAhead := range ahead {
		for backlog, backlogAhead := range ahead {
			for _, waited := range []bool{false, true} {
				what := fmt.Sprintf("slot %s, backlog %s, waited %t", slot, backlog, waited)
				b.Exec(t, "TRUNCATE connections, apps")
				c := b.connect(t)
				req.ID = c.ID
				if waited {
					b.Exec(t, "UPDATE connections SET queued_at = now() - interval '1 minute', next_attempt_at = now()")
				}
				b.Exec(t, fmt.Sprintf("INSERT INTO apps (app, slot_at, backlog_at, updated_at) VALUES ('hubspot', %s, %s, now())", at(slotAhead), at(backlogAhead)))
				before := b.turns(t, c.App)
				got, ok, err := b.FastAdmit(ctx, req)
				require.NoError(t, err, what)
				require.True(t, ok, what)
				want, admitted, after := before.Reserve(c.ID, waited, req.Rate, req.Patience, req.Lead, got.Now)
				require.Equal(t, admitted, got.Admitted, what)
				for i, pair := range [][2]time.Time{{after.SlotAt, b.turns(t, c.App).SlotAt}, {after.BacklogAt, b.turns(t, c.App).BacklogAt}} {
					require.WithinDuration(t, pair[0], pair[1], time.Microsecond, "%s: %d", what, i)
				}
				row := b.row(t, c.ID)
				if admitted {
					require.Equal(t, want, got.SlotAt, what)
					require.Zero(t, got.Code, what)
					require.Equal(t, waited, !row.QueuedAt.IsZero(), "the claim is another's")
					continue
				}
				require.WithinDuration(t, want, got.RetryAt, time.Microsecond, what)
				require.Equal(t, store.CodeRateLimit, got.Code, what)
				require.Equal(t, row, got.Connection, what)
				require.Equal(t, got.RetryAt, row.NextAttemptAt, what)
				require.False(t, row.QueuedAt.IsZero(), what)
			}
		}
	}

	// If a token expires before its turn, the row says why the product has none.
	b.Exec(t, "TRUNCATE connections, apps")
	b.Exec(t, "INSERT INTO apps (app, slot_at, updated_at) VALUES ('hubspot', now() + interval '10 minutes', now())")
	c = b.connect(t)
	req.ID = c.ID
	b.Exec(t, "UPDATE connections SET expires_at = now() + interval '1 minute'")
	got, ok, err := b.FastAdmit(ctx, req)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, perennial.HealthFailing, got.Connection.Health)
	require.Equal(t, store.CodeRateLimit, got.Connection.FailingCode)

	// Whatever prevents the fast claim also prevents the fast admission, which then
	// takes no slot.
	for _, change := range []string{
		"UPDATE connections SET failure_count = 1",
		"INSERT INTO circuits (app, host, reason, updated_at) VALUES ('hubspot', 'api.hubapi.com', 'unavailable', now())",
		"UPDATE apps SET slow_until = now() + interval '1 minute'",
	} {
		b.Exec(t, "TRUNCATE connections, apps, circuits")
		b.Exec(t, "INSERT INTO apps (app, updated_at) VALUES ('hubspot', now())")
		c = b.connect(t)
		req.ID = c.ID
		b.Exec(t, change)
		_, ok, err := b.FastAdmit(ctx, req)
		require.NoError(t, err, change)
		require.False(t, ok, change)
		require.Zero(t, b.turns(t, c.App), change)
	}
}

// testFastAdmitAtOnce: of the connections that ask at once, some get a slot each, as
// far apart as the limit says; each of the rest gets a turn.
func testFastAdmitAtOnce(t *testing.T, b *bundle) {
	if b.IsSQLite() {
		return // the statement never applies there
	}
	const callers, rate = 24, 0.5
	gap := time.Duration(1.2 / rate * float64(time.Second))
	first := b.connect(t)
	_, err := b.Admit(t.Context(), store.AdmitRequest{Connection: first, Rate: rate, Patience: time.Minute}) // creates the app's row
	require.NoError(t, err)
	var cs [callers]perennial.Connection
	for i := range cs {
		cs[i] = b.connect(t)
	}
	var wg sync.WaitGroup
	var got [callers]store.Admission
	for i, c := range cs {
		wg.Go(func() {
			var ok bool
			var err error
			got[i], ok, err = b.FastAdmit(t.Context(), store.FastAdmitRequest{ID: c.ID, Generation: c.Generation, App: c.App, Rate: rate, Patience: 10 * time.Second})
			assert.NoError(t, err)
			assert.True(t, ok)
		})
	}
	wg.Wait()
	var slots, queue []time.Time
	for _, a := range got {
		if a.Admitted {
			slots = append(slots, a.SlotAt)
		} else {
			queue = append(queue, a.RetryAt)
		}
	}
	require.NotEmpty(t, slots)
	require.NotEmpty(t, queue)
	for _, times := range [][]time.Time{slots, queue} {
		slices.SortFunc(times, time.Time.Compare)
		for i := range times[1:] {
			require.GreaterOrEqual(t, times[i+1].Sub(times[i]), gap-time.Microsecond)
		}
	}
}

// turns returns what the database knows of an app's rate slots.
func (b *bundle) turns(t *testing.T, app string) store.RateSlots {
	t.Helper()
	var slot, backlog sql.NullTime
	db := b.Foreign(t)
	defer db.Close()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT slot_at, backlog_at FROM apps WHERE app = $1", app).Scan(&slot, &backlog))
	return store.RateSlots{SlotAt: slot.Time.UTC(), BacklogAt: backlog.Time.UTC()}
}

// testFastSave: the one statement and the transaction leave the same row and the same
// ledger.
func testFastSave(t *testing.T, b *bundle) {
	var rows []perennial.Connection
	var lines []perennial.Attempt
	start, err := b.Now(t.Context())
	require.NoError(t, err)
	start = start.Truncate(time.Microsecond)
	for _, quick := range []bool{true, false} {
		c := b.claimed(t, b.connect(t), lease, single)
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
		ledger, err := b.Attempts(t.Context(), perennial.WorkerAccess(), c.ID, 10)
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

// testFastSaveLeaves: the statement does not save a row that another writer changed
// since the claim. The transaction does, after it has looked at the row.
func testFastSaveLeaves(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusPaused, "")
	require.NoError(t, err)
	saved, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.Equal(t, perennial.StatusPaused, b.row(t, c.ID).Status, "never revived")

	// The `sending` mark is the attempt's own write.
	c = b.claimed(t, b.connect(t), lease, perennial.ReplayReuseRevokes)
	require.NoError(t, b.MarkSending(t.Context(), c.ID, c.Open.ID))
	require.True(t, b.row(t, c.ID).Open.Sent)
	if !b.IsSQLite() {
		require.Equal(t, c.UpdatedAt, b.row(t, c.ID).UpdatedAt)
	}
	saved, err = b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.True(t, b.row(t, c.ID).Open.IsZero())
}
