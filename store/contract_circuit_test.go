package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
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
	require.True(t, b.open(t, app) && !b.releasing(t, app), "a refused grant proves nothing, unless the provider checks the client first")
	require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: cs[3], Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", Interval: interval, ClientFirst: true}))
	require.True(t, b.releasing(t, app), "a refused grant shows that the client was accepted")
	require.ElementsMatch(t, []string{cs[0].ID, cs[2].ID}, b.releaseAll(t, app, nil), "those that waited are let go")
	require.False(t, b.open(t, app))
	require.Equal(t, []perennial.EventType{perennial.EventCircuitOpened, perennial.EventHoldEnded, perennial.EventCircuitReleasing, perennial.EventCircuitClosed}, b.events(t, app))
}

func (b *bundle) releasing(t *testing.T, app string) bool {
	t.Helper()
	return slices.ContainsFunc(b.state(t, app).Circuits, func(c store.Circuit) bool { return c.Releasing })
}

// releaseAll refreshes each connection that has its turn, until the circuit has closed,
// and returns the ids in the order of the turns. refreshes, if not nil, stands in for a
// refresh.
func (b *bundle) releaseAll(t *testing.T, app string, refreshes func(perennial.Connection)) (ids []string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for more := true; more; {
		require.True(t, time.Now().Before(deadline), "it never ends")
		var cs []perennial.Connection
		var err error
		cs, more, err = b.Release(t.Context(), store.ReleaseRequest{App: app})
		require.NoError(t, err)
		for _, c := range cs {
			ids = append(ids, c.ID)
			if refreshes != nil {
				refreshes(c)
				continue
			}
			b.refreshed(t, c.ID)
		}
	}
	return ids
}

// refreshed refreshes a connection that has its turn, as soon as its row allows it.
func (b *bundle) refreshed(t *testing.T, id string) {
	t.Helper()
	c := b.row(t, id)
	b.Until(t, c.NextAttemptAt)
	require.True(t, b.admitted(t, c).Admitted, "it has its turn")
	req := saveRequest(b.claimed(t, c, lease, single), uuid.NewString())
	req.NextRefreshAt = time.Now().Add(time.Hour)
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored)
}

// testRelease: a good probe moves the circuit to releasing, and the connections that
// wait have their turns, the earliest expiry first, once each. Meanwhile nobody else is
// admitted, pacers included. One that was due and had not asked is among them, and so
// is one that asks only now.
func testRelease(t *testing.T, b *bundle) {
	cs := b.app(t, 20)
	app := cs[0].App
	for _, c := range cs[:5] {
		b.note(t, c, perennial.OutcomeUnknown, "http_503")
	}
	require.True(t, b.open(t, app))
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	for i, c := range cs {
		b.set(t, c.ID, "expires_at", stampText(now.Add(time.Duration(20-i)*time.Minute))) // the last one's first
		if i >= 6 {
			require.False(t, b.admitted(t, c).Admitted)
		}
	}
	b.set(t, cs[4].ID, "next_refresh_at", stampText(now.Add(-time.Minute)))
	apps, err := b.ReleasingApps(t.Context())
	require.NoError(t, err)
	require.NotContains(t, apps, app, "its circuit is open")
	none, on, err := b.Release(t.Context(), store.ReleaseRequest{App: app})
	require.NoError(t, err)
	require.Empty(t, none)
	require.False(t, on)

	b.note(t, cs[0], perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, app))
	apps, err = b.ReleasingApps(t.Context())
	require.NoError(t, err)
	require.Contains(t, apps, app)
	late := b.admitted(t, cs[5])
	require.Equal(t, store.CodeCircuitOpen, late.Code, "it has no turn")
	pace := paceRequest(0, 1, 10, 0)
	pace.App = app
	claims := func() int {
		t.Helper()
		got, err := b.ClaimDue(t.Context(), pace)
		require.NoError(t, err)
		return len(got.Claims)
	}
	require.Zero(t, claims(), "creates the pacer's row")
	require.Zero(t, claims(), "a due one has no turn")

	first, on, err := b.Release(t.Context(), store.ReleaseRequest{App: app})
	require.NoError(t, err)
	require.True(t, on)
	require.Len(t, first, 2, "it begins with two")
	again, _, err := b.Release(t.Context(), store.ReleaseRequest{App: app})
	require.NoError(t, err)
	require.Empty(t, again, "they have not gone yet")
	require.False(t, b.admitted(t, b.row(t, cs[6].ID)).Admitted)
	order := []string{first[0].ID, first[1].ID}
	b.refreshed(t, order[0])
	b.refreshed(t, order[1])
	order = append(order, b.releaseAll(t, app, nil)...)
	var want []string
	for i := 19; i >= 4; i-- {
		want = append(want, cs[i].ID)
	}
	slices.Sort(order[:2])
	slices.Sort(want[:2])
	require.Equal(t, want[:2], order[:2])
	require.ElementsMatch(t, want, order, "once each, and nobody who does not wait")
	require.Less(t, slices.Index(order, cs[15].ID), slices.Index(order, cs[4].ID), "the earliest expiry first")
	require.False(t, b.open(t, app))
	require.Zero(t, b.Number(t, "SELECT count(*) FROM waiting WHERE app = '"+app+"'"))
}

// testReleaseReopens: the first failure of the circuit's kind opens it again, with the
// probe interval that it had, and takes the turns back. A failure of another kind, and
// one whose attempt began before the release, do not.
func testReleaseReopens(t *testing.T, b *bundle) {
	cs := b.app(t, 8)
	app := cs[0].App
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	before := b.claimed(t, cs[3], lease, single)
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
	for _, c := range cs[4:] {
		require.False(t, b.admitted(t, c).Admitted)
	}
	b.note(t, cs[2], perennial.OutcomeRefreshed, "")
	b.Exec(t, "UPDATE circuits SET probes = 30 WHERE app = '"+app+"'")
	turns, _, err := b.Release(t.Context(), store.ReleaseRequest{App: app})
	require.NoError(t, err)
	require.Len(t, turns, 2)
	b.note(t, before, perennial.OutcomeMisconfigured, "invalid_client")
	require.True(t, b.releasing(t, app), "it began before the release")
	b.note(t, turns[0], perennial.OutcomeUnknown, "timeout")
	require.True(t, b.releasing(t, app), "another kind")

	c := b.row(t, turns[0].ID)
	b.Until(t, c.NextAttemptAt)
	b.note(t, b.claimed(t, c, lease, single), perennial.OutcomeMisconfigured, "invalid_client")
	require.False(t, b.releasing(t, app))
	require.True(t, b.open(t, app))
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(2*interval), b.state(t, app).Circuits[0].NextProbeAt, 10*time.Second, "the old interval")
	require.False(t, b.admitted(t, b.row(t, turns[1].ID)).Admitted, "its turn is taken back")
	require.Equal(t, []perennial.EventType{perennial.EventCircuitOpened, perennial.EventCircuitReleasing, perennial.EventCircuitOpened}, b.events(t, app))

	b.note(t, cs[2], perennial.OutcomeRefreshed, "")
	left := b.releaseAll(t, app, nil)
	require.Len(t, left, 3, "one has an open attempt, and all others wait still")
	require.NotContains(t, left, turns[0].ID)
	require.False(t, b.open(t, app))
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
	b.releaseAll(t, cs[0].App, nil)
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
	b.releaseAll(t, cs[0].App, nil)
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
		require.True(t, b.open(t, cs[0].App) && !b.releasing(t, cs[0].App), "only a success closes it, not %s", outcome)
		require.Equal(t, reason, b.state(t, cs[0].App).Circuits[0].Reason, outcome)
	}
	b.note(t, cs[6], perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, cs[0].App))

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
		b.releaseAll(t, app, nil)
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
