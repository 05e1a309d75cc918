package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func testCircuit(t *testing.T, b *bundle) {
	cs := b.app(t, 4)
	app := cs[0].App
	require.True(t, b.admitted(t, cs[0]).Admitted)
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	require.False(t, b.open(t, app), "one connection's trouble is its own")
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
	require.True(t, b.open(t, app))
	require.Equal(t, "invalid_client", b.state(t, app).Circuits[0].Code)

	held := b.admitted(t, cs[2])
	require.False(t, held.Admitted)
	require.Equal(t, store.CodeCircuitOpen, held.Code)
	require.Equal(t, held.RetryAt, held.Connection.NextAttemptAt, "written into the row")
	require.NotZero(t, held.Connection.QueuedAt)
	require.Equal(t, perennial.StatusActive, held.Connection.Status)

	require.NoError(t, b.DismissRefusalHold(t.Context(), app), "an operator makes the probe due")
	canary := b.admitted(t, cs[3])
	require.True(t, canary.Admitted)
	require.True(t, canary.Probe)
	require.False(t, b.admitted(t, cs[0]).Admitted, "one canary an interval")
	b.note(t, cs[3], perennial.OutcomeRevoked, "invalid_grant")
	require.True(t, b.open(t, app), "a refused grant proves nothing, unless the provider checks the client first")
	require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: cs[3], Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", Interval: interval, ClientFirst: true}))
	require.False(t, b.open(t, app), "a refused grant shows that the client was accepted")
	require.Equal(t, []perennial.EventType{perennial.EventCircuitOpened, perennial.EventHoldEnded, perennial.EventCircuitClosed}, b.events(t, app))
	due := b.row(t, cs[2].ID).NextAttemptAt
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	require.False(t, due.After(now.Add(time.Second)), "those that waited are let go")
}

// testRelease: a release finds each waiting connection once, when its turn has come. It
// also finds one that was due and had not asked, and one that was held while the
// circuit closed.
func testRelease(t *testing.T, b *bundle) {
	cs := b.app(t, 9)
	app := cs[0].App
	for _, c := range cs[:5] {
		b.note(t, c, perennial.OutcomeUnknown, "http_503")
	}
	require.True(t, b.open(t, app))
	waiting := map[string]bool{}
	for _, c := range cs[5:] {
		held := b.admitted(t, c)
		require.False(t, held.Admitted)
		waiting[c.ID] = true
	}
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.set(t, cs[4].ID, "next_refresh_at", stampText(now.Add(-time.Minute)))
	waiting[cs[4].ID] = true
	apps, err := b.ReleasingApps(t.Context())
	require.NoError(t, err)
	require.NotContains(t, apps, app, "its circuit is open")
	_, on, err := b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, Limit: 10})
	require.NoError(t, err)
	require.False(t, on)

	b.note(t, cs[0], perennial.OutcomeRefreshed, "")
	require.False(t, b.open(t, app))
	apps, err = b.ReleasingApps(t.Context())
	require.NoError(t, err)
	require.Contains(t, apps, app)
	require.True(t, b.row(t, cs[3].ID).QueuedAt.IsZero(), "it is not due")
	due := b.row(t, cs[4].ID)
	require.Equal(t, due.NextRefreshAt, due.QueuedAt)
	require.True(t, due.NextAttemptAt.After(now), "nobody takes it before its turn")
	b.set(t, cs[8].ID, "next_attempt_at", stampText(now.Add(5*time.Hour))) // its hold was written after the release

	b.Until(t, now.Add(2*time.Second))
	var after store.ReleaseCursor
	for page := range 5 {
		got, on, err := b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, After: after, Limit: 1})
		require.NoError(t, err)
		require.True(t, on)
		require.Len(t, got, 1, page)
		require.True(t, waiting[got[0].ID], "once each")
		delete(waiting, got[0].ID)
		after = store.ReleaseCursor{At: got[0].NextAttemptAt, ID: got[0].ID}
	}
	got, _, err := b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, After: after, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, got)

	called := func(want int) {
		t.Helper()
		n, err := b.SignalledNotRefreshed(t.Context(), store.ReleaseBatchRequest{App: app, After: after})
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	called(5)
	b.claimed(t, b.row(t, cs[6].ID), lease, single)
	called(4)
	paced, _, err := b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, Pooled: true, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, paced, "pacers take them")

	// A later batch of the same release leaves a longer wait alone. A new release pulls
	// it forward, but not a wait that follows from the connection's own failure.
	b.set(t, cs[7].ID, "next_attempt_at", stampText(now.Add(5*time.Hour)))
	_, _, err = b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, After: after, Limit: 10})
	require.NoError(t, err)
	require.True(t, b.row(t, cs[7].ID).NextAttemptAt.After(now.Add(time.Hour)))
	failing := cs[8].ID
	b.set(t, failing, "failing_code", "'http_500'")
	b.set(t, failing, "failure_count", "1")
	b.set(t, failing, "next_attempt_at", stampText(now.Add(5*time.Hour)))
	_, _, err = b.ReleaseBatch(t.Context(), store.ReleaseBatchRequest{App: app, Limit: 10})
	require.NoError(t, err)
	require.False(t, b.row(t, cs[7].ID).NextAttemptAt.After(now.Add(time.Hour)))
	require.True(t, b.row(t, failing).NextAttemptAt.After(now.Add(time.Hour)))
}

// testFailedWhileClosing: a failure whose attempt began before the circuit closed
// belongs to the time before. Its connection waits no longer than those that waited at
// the circuit.
func testFailedWhileClosing(t *testing.T, b *bundle) {
	cs := b.app(t, 5)
	late, mended := b.claimed(t, cs[3], lease, single), b.claimed(t, cs[4], lease, single)
	for _, c := range cs[:2] {
		b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
	}
	require.True(t, b.open(t, cs[0].App))
	b.note(t, cs[2], perennial.OutcomeRefreshed, "")
	require.False(t, b.open(t, cs[0].App))

	fails := func(c perennial.Connection, queued bool) perennial.Connection {
		t.Helper()
		req := closeRequest(c, perennial.OutcomeMisconfigured)
		req.Failed, req.Queued, req.Wait = true, queued, time.Hour
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		return row
	}
	row := fails(late, true)
	require.Equal(t, 1, row.FailureCount)
	require.False(t, row.NextAttemptAt.After(row.UpdatedAt.Add(time.Second)), "its circuit has closed: nobody would wake it")
	b.Until(t, row.NextAttemptAt)
	row = fails(b.claimed(t, row, lease, single), true)
	require.True(t, row.NextAttemptAt.After(row.UpdatedAt.Add(time.Minute)), "the next failure is its own")

	saved, err := b.Save(t.Context(), saveRequest(mended, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.True(t, b.row(t, mended.ID).QueuedAt.IsZero(), "it waits for nobody")

	// A wait that the provider asked for stays.
	asked := b.claimed(t, cs[2], lease, single)
	for _, c := range cs[:2] {
		b.note(t, c, perennial.OutcomeMisconfigured, "invalid_client")
	}
	b.note(t, cs[0], perennial.OutcomeRefreshed, "")
	row = fails(asked, false)
	require.True(t, row.NextAttemptAt.After(row.UpdatedAt.Add(time.Minute)))
}

// testCircuitSuccessBetween: the circuit counts a success between two failures without
// being told, whichever process saved it and however it was claimed.
func testCircuitSuccessBetween(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	save := func(s *store.Store, claim store.Claim) {
		t.Helper()
		require.Equal(t, store.VerdictClaimed, claim.Verdict)
		req := saveRequest(claim.Connection, "2")
		req.NextRefreshAt = claim.Now.Add(-time.Second) // due again
		saved, err := s.Save(t.Context(), req)
		require.NoError(t, err)
		require.True(t, saved.Stored)
	}
	another := store.New(b.Open(t)) // another process
	for who, success := range map[string]func(){
		"by its own workflow": func() { save(b.Store, b.claim(t, b.row(t, cs[2].ID), lease, single)) },
		"by a pacer": func() {
			b.set(t, cs[2].ID, "next_refresh_at", "'2020-01-01 00:00:00+00:00'")
			req := paceRequest(0, 1, 1, 0)
			req.App = cs[2].App
			got, err := another.ClaimDue(t.Context(), req) // the first call creates the pacer's row
			if len(got.Claims) == 0 {
				require.NoError(t, err)
				got, err = another.ClaimDue(t.Context(), req)
			}
			require.NoError(t, err)
			require.Len(t, got.Claims, 1)
			save(another, got.Claims[0])
		},
	} {
		b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
		require.False(t, b.admitted(t, cs[2]).NoteEveryReply, "the circuit is closed")
		success()
		b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
		require.False(t, b.open(t, cs[0].App), who)
		success()
	}
	failing := cs[0]
	failing.FailureCount = 1 // it began to fail before the last success
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
	b.note(t, failing, perennial.OutcomeMisconfigured, "invalid_client")
	require.False(t, b.open(t, cs[0].App), "the last success came between")
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	require.True(t, b.open(t, cs[0].App), "none came since")

	alone := b.app(t, 1)
	b.note(t, alone[0], perennial.OutcomeMisconfigured, "invalid_client")
	require.True(t, b.open(t, alone[0].App), "the app's only connection")
	require.True(t, b.state(t, alone[0].App).Circuits[0].Open)
}

// testFailuresOnRecord: failures that opened no circuit prevent no claim.
func testFailuresOnRecord(t *testing.T, b *bundle) {
	ids := b.due(t, 20)
	_, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 1, 0)) // creates the pacer's row
	require.NoError(t, err)
	b.Exec(t, "UPDATE connections SET attempt_id = '', attempt_deadline = NULL, attempt_started_at = NULL")
	// These have failed for a long time, and were due before all others.
	bad := b.due(t, 30)
	for id := range bad {
		b.set(t, id, "failure_count", "12")
		b.set(t, id, "health", "'failing'")
		b.set(t, id, "failing_code", "'http_500'")
		b.set(t, id, "next_refresh_at", "'2020-01-01 00:00:00+00:00'")
		b.set(t, id, "next_attempt_at", "'2099-01-01 00:00:00+00:00'")
	}
	failed := 0
	for id := range bad {
		if failed++; failed < 5 {
			b.note(t, b.row(t, id), perennial.OutcomeUnknown, "http_500")
		}
	}
	require.False(t, b.open(t, "hubspot"))
	got, err := b.ClaimDue(t.Context(), paceRequest(0, 1, 16, 0))
	require.NoError(t, err)
	require.Len(t, got.Claims, 16, "all that it may claim")
	for _, claim := range got.Claims {
		require.True(t, ids[claim.Connection.ID])
		delete(ids, claim.Connection.ID)
	}
	for id := range ids {
		require.True(t, b.admitted(t, b.row(t, id)).Admitted)
	}
}

func testCircuitOutage(t *testing.T, b *bundle) {
	cs := b.app(t, 10)
	for i, c := range cs[:5] {
		require.False(t, b.open(t, c.App), i)
		b.note(t, c, perennial.OutcomeUnknown, "http_503")
	}
	require.True(t, b.open(t, cs[0].App))
	for outcome, reason := range map[perennial.Outcome]string{perennial.OutcomeRateLimited: "unavailable", perennial.OutcomeRevoked: "unavailable",
		perennial.OutcomeRejected: "rejected", perennial.OutcomeMisconfigured: "misconfigured"} {
		b.Exec(t, "UPDATE circuits SET reason = 'unavailable' WHERE app = '"+cs[0].App+"'")
		b.note(t, cs[6], outcome, "other")
		require.True(t, b.open(t, cs[0].App), "only a success closes it, not %s", outcome)
		require.Equal(t, reason, b.state(t, cs[0].App).Circuits[0].Reason, outcome)
	}
	b.note(t, cs[6], perennial.OutcomeRefreshed, "")
	require.False(t, b.open(t, cs[0].App))

	alone := b.app(t, 1)[0]
	b.note(t, alone, perennial.OutcomeUnknown, "timeout")
	require.False(t, b.open(t, alone.App), "one lost answer is no outage")
	alone.FailureCount = 2
	b.note(t, alone, perennial.OutcomeUnknown, "timeout")
	require.True(t, b.open(t, alone.App), "the third in a row is")
}

// testCanaries: some connections may be paused, disconnected or refreshed while their
// circuit is open. One of the others asks for admission within a probe interval after
// the next probe is due, and is admitted as the canary.
func testCanaries(t *testing.T, b *bundle) {
	opened := func(n int) (cs []perennial.Connection, last string) {
		t.Helper()
		cs = b.app(t, n)
		b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
		b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
		require.True(t, b.open(t, cs[0].App))
		return cs, cs[1].ID
	}
	probeAt := func(app string, at time.Time) {
		b.Exec(t, "UPDATE circuits SET next_probe_at = "+stampText(at)+" WHERE app = '"+app+"'")
	}
	for what, leave := range map[string]string{
		"disconnected": "UPDATE connections SET status = 'disconnected' WHERE app = '%s' AND id <> '%s'",
		"paused":       "UPDATE connections SET status = 'paused' WHERE app = '%s' AND id <> '%s'",
		"backing off":  "UPDATE connections SET failure_count = 9, queued_at = NULL, next_attempt_at = '2099-01-01 00:00:00+00:00' WHERE app = '%s' AND id <> '%s'",
	} {
		cs, last := opened(30)
		app := cs[0].App
		b.Exec(t, fmt.Sprintf(leave, app, last))
		now, err := b.Now(t.Context())
		require.NoError(t, err)
		probeAt(app, now.Add(-interval/2))
		held := b.admitted(t, b.row(t, last))
		require.False(t, held.Admitted, "%s: another goes first, if there is any", what)
		require.WithinDuration(t, now.Add(interval/2), held.RetryAt, time.Second, what)
		probeAt(app, now.Add(-interval))
		canary := b.admitted(t, b.row(t, last))
		require.True(t, canary.Probe, what)
		b.note(t, b.row(t, last), perennial.OutcomeRefreshed, "")
		require.False(t, b.open(t, app), what)
	}

	// A large fleet comes back over minutes, but some of it comes for the next probe.
	cs, _ := opened(400)
	next := b.state(t, cs[0].App).Circuits[0].NextProbeAt
	soon, late := 0, 0
	for _, c := range cs[2:40] {
		held := b.admitted(t, c)
		require.False(t, held.Admitted)
		require.False(t, held.RetryAt.Before(next))
		if held.RetryAt.After(next.Add(interval)) {
			late++
		} else {
			soon++
		}
	}
	require.GreaterOrEqual(t, soon, 10)
	require.Greater(t, late, 10)

	// If the rate limit refuses a probe, another connection may make it.
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	probeAt(cs[0].App, now)
	refuse := admit(b.row(t, cs[50].ID))
	refuse.Rate = 1
	b.Exec(t, "UPDATE apps SET slot_at = "+stampText(now.Add(time.Hour))+" WHERE app = '"+cs[0].App+"'")
	held, err := b.Admit(t.Context(), refuse)
	require.NoError(t, err)
	require.Equal(t, store.CodeRateLimit, held.Code)
	b.Exec(t, "UPDATE apps SET slot_at = NULL, backlog_at = "+stampText(now.Add(time.Hour))+" WHERE app = '"+cs[0].App+"'")
	refuse.Connection = b.row(t, cs[51].ID)
	canary, err := b.Admit(t.Context(), refuse)
	require.NoError(t, err)
	require.True(t, canary.Admitted && canary.Probe, "and a long queue is no hindrance")
}

// testSlowDownIsKept: a 429 without a time, for a request that was in flight, does not
// shorten the hour that the first one asked for, at the app or at a host of its own.
func testSlowDownIsKept(t *testing.T, b *bundle) {
	for _, host := range []bool{false, true} {
		c := b.app(t, 1)[0]
		until := func() time.Time {
			s := b.state(t, c.App)
			if host {
				return s.Circuits[0].SlowUntil
			}
			return s.SlowUntil
		}
		var first time.Time
		for _, wait := range []time.Duration{time.Hour, 10 * time.Second, 2 * time.Hour} {
			require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: c, Outcome: perennial.OutcomeRateLimited, SlowDown: wait, SlowDownHost: host, Interval: interval}))
			switch wait {
			case time.Hour:
				first = until()
			case 10 * time.Second:
				require.Equal(t, first, until())
			default:
				require.WithinDuration(t, first.Add(time.Hour), until(), time.Minute, "the later end wins")
			}
		}
	}
}
