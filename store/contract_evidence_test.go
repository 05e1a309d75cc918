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

// with adds n connections of a tenant to an app, imported or of a consent.
func (b *bundle) with(t *testing.T, app, tenant string, n int, imported bool) []perennial.Connection {
	t.Helper()
	var out []perennial.Connection
	for i := range n {
		w := tokens(1, "1")
		w.Unproven = imported
		c, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: uuid.NewString(), TenantID: tenant, App: app, Provider: "hubspot",
			Host: "api.hubapi.com", AccountID: fmt.Sprintf("%s %d %t", tenant, i, imported)}, w)
		require.NoError(t, err)
		require.Equal(t, !imported, c.Proven())
		out = append(out, c)
	}
	return out
}

// attempted presents a token of each connection, with success or without.
func (b *bundle) attempted(t *testing.T, cs []perennial.Connection, outcome perennial.Outcome) (after []perennial.Connection) {
	t.Helper()
	for _, c := range cs {
		b.set(t, c.ID, "next_attempt_at", "NULL")
		c = b.claimed(t, b.row(t, c.ID), lease, single)
		if outcome == perennial.OutcomeRefreshed {
			saved, err := b.Save(t.Context(), saveRequest(c, fmt.Sprint(c.Generation+1)))
			require.NoError(t, err)
			require.True(t, saved.Stored)
			after = append(after, saved.Connection)
			continue
		}
		req := closeRequest(c, outcome)
		req.Failed = true
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: c, Outcome: outcome, Code: string(outcome), Interval: interval}))
		after = append(after, row)
	}
	return after
}

// testNeverWorked: imported tokens that fail, however many, stop nobody, neither those
// that work nor each other; and they are no canary while another could be.
func testNeverWorked(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	good := b.with(t, app, "honest", 3, false)
	junk := b.with(t, app, "careless", 20, true)
	for _, outcome := range []perennial.Outcome{perennial.OutcomeMisconfigured, perennial.OutcomeUnknown, perennial.OutcomeRejected} {
		b.attempted(t, junk, outcome)
		require.False(t, b.open(t, app), outcome)
	}
	shown := b.state(t, app).Evidence
	require.Len(t, shown, 1)
	require.Equal(t, "careless", shown[0].TenantID)
	require.Equal(t, 20, shown[0].Connections)
	require.Zero(t, shown[0].Counted)

	b.attempted(t, good, perennial.OutcomeMisconfigured)
	require.True(t, b.open(t, app), "those that worked are enough")
	b.Exec(t, "UPDATE circuits SET next_probe_at = '2020-01-01 00:00:00+00:00' WHERE app = '"+app+"'")
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, "UPDATE circuits SET next_probe_at = "+stampText(now)+" WHERE app = '"+app+"'")
	require.False(t, b.admitted(t, b.row(t, junk[0].ID)).Admitted, "another goes first")
	require.True(t, b.admitted(t, b.row(t, good[0].ID)).Probe)

	saved := b.attempted(t, junk[:1], perennial.OutcomeRefreshed)
	require.True(t, saved[0].Proven(), "its first refresh proves it")
}

// testNobodyProven: in an app without a proven connection the imported ones open the
// circuit for themselves. One that comes from a consent does not wait for it.
func testNobodyProven(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	imported := b.with(t, app, "acme", 6, true)
	b.attempted(t, imported[:2], perennial.OutcomeMisconfigured)
	require.True(t, b.open(t, app))
	require.False(t, b.admitted(t, imported[3]).Admitted)
	_, ok, err := b.FastClaim(t.Context(), app, claimRequest(imported[4], lease, single))
	require.NoError(t, err)
	require.False(t, ok)

	consented := b.with(t, app, "other", 1, false)[0]
	a := b.admitted(t, consented)
	require.True(t, a.Admitted && !a.Probe && !a.NoteEveryReply)
	_, ok, err = b.FastClaim(t.Context(), app, claimRequest(consented, lease, single))
	require.NoError(t, err)
	require.Equal(t, !b.IsSQLite(), ok)

	b.note(t, imported[3], perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, app), "the first success ends it")
}

// testFailingForLong: connections whose failures began before the last success are no
// evidence, however often they fail. Those that were well until now are.
func testFailingForLong(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	well := append(b.with(t, app, "acme", 6, false), b.with(t, app, "other", 4, false)...)
	sick := b.with(t, app, "third", 30, false)
	for _, c := range sick {
		b.set(t, c.ID, "failure_count", "7")
	}
	for range 2 {
		b.attempted(t, sick, perennial.OutcomeUnknown)
	}
	require.False(t, b.open(t, app))
	well = b.attempted(t, well, perennial.OutcomeRefreshed)
	b.attempted(t, sick, perennial.OutcomeUnknown)
	require.False(t, b.open(t, app))
	for i, c := range well {
		require.Equal(t, i >= 5, b.open(t, app), i)
		if i < 5 {
			b.attempted(t, []perennial.Connection{c}, perennial.OutcomeUnknown)
		}
		if i == 4 {
			require.True(t, b.open(t, app), "five that were well, and none succeeded since")
			return
		}
	}
}

// testShare: five refusals without a reason among many successes of the last minute are not
// enough, even if no success came after them. Five requests without an answer are.
func testShare(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	many := append(b.with(t, app, "acme", 20, false), b.with(t, app, "other", 20, false)...)
	b.attempted(t, many[4:36], perennial.OutcomeRefreshed)
	some := append(append([]perennial.Connection{}, many[:4]...), many[36:]...)
	b.attempted(t, some[:7], perennial.OutcomeRejected)
	require.False(t, b.open(t, app), "7 beside 32 successes")
	b.attempted(t, some[7:], perennial.OutcomeRejected)
	require.True(t, b.open(t, app), "8 beside 32")
	events, err := b.Events(t.Context(), "", 1)
	require.NoError(t, err)
	require.Equal(t, perennial.EventCircuitOpened, events[0].Type)
	require.Equal(t, 8, events[0].Data.Connections)
	require.Equal(t, []string{"acme", "other"}, events[0].Data.Tenants)

	b.Exec(t, "UPDATE circuits SET reason = '' WHERE app = '"+app+"'")
	b.attempted(t, many[4:36], perennial.OutcomeRefreshed)
	b.attempted(t, []perennial.Connection{many[4], many[5], many[34], many[35]}, perennial.OutcomeUnknown)
	require.False(t, b.open(t, app))
	b.attempted(t, many[6:7], perennial.OutcomeUnknown)
	require.True(t, b.open(t, app))
}

// testTenantsOwn: failures of one tenant alone are its own, unless it has
// most of the attempts.
func testTenantsOwn(t *testing.T, b *bundle) {
	for mine, opens := range map[int]bool{6: false, 13: true} {
		app := "app-" + uuid.NewString()
		others := b.with(t, app, "others", 12, false)
		own := b.with(t, app, "own", mine, false)
		b.attempted(t, others, perennial.OutcomeRefreshed)
		b.attempted(t, own, perennial.OutcomeUnknown)
		require.Equal(t, opens, b.open(t, app), mine)
		if !opens {
			b.Exec(t, "UPDATE attempts SET started_at = '2020-01-01 00:00:00+00:00'")
			b.attempted(t, others[:1], perennial.OutcomeUnknown)
			require.True(t, b.open(t, app), "another tenant suffers too")
		}
	}
}

// testRejected: refusals without a reason that meet everybody are the app's trouble, and
// those of one connection are its own.
func testRejected(t *testing.T, b *bundle) {
	cs := b.app(t, 20)
	for range 8 {
		b.note(t, cs[0], perennial.OutcomeRejected, "http_403")
	}
	require.False(t, b.open(t, cs[0].App))
	b.attempted(t, cs[1:5], perennial.OutcomeRejected)
	require.True(t, b.open(t, cs[0].App))
	require.Equal(t, "rejected", b.state(t, cs[0].App).Circuits[0].Reason)
	b.note(t, cs[0], perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, cs[0].App))
}

// testOneDirectory: unauthorized_client may be about one directory of the provider's
// customers. Three connections make it the app's.
func testOneDirectory(t *testing.T, b *bundle) {
	cs := b.app(t, 9)
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "unauthorized_client")
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "unauthorized_client")
	require.False(t, b.open(t, cs[0].App))
	b.note(t, cs[2], perennial.OutcomeMisconfigured, "unauthorized_client")
	require.True(t, b.open(t, cs[0].App))
}

// testOldFailures: a failure counts for a minute.
func testOldFailures(t *testing.T, b *bundle) {
	cs := b.app(t, 9)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	for _, old := range []time.Duration{2 * time.Minute, 50 * time.Second} {
		b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
		b.Exec(t, "UPDATE failures SET failed_at = "+stampText(now.Add(-old))+" WHERE app = '"+cs[0].App+"'")
		b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
		require.Equal(t, old < time.Minute, b.open(t, cs[0].App), old)
	}
	b.Exec(t, "UPDATE failures SET failed_at = '2020-01-01 00:00:00+00:00' WHERE app = '"+cs[0].App+"'")
	n, err := b.Prune(t.Context(), 90*24*time.Hour, 100)
	require.NoError(t, err)
	require.Positive(t, n)
	require.Empty(t, b.state(t, cs[0].App).Evidence)
}

// refuse presents a token of c, which the provider refuses. The second refusal of a
// connection would make it reconnect.
func (b *bundle) refuse(t *testing.T, c perennial.Connection) perennial.Connection {
	t.Helper()
	c = b.row(t, c.ID)
	b.set(t, c.ID, "next_attempt_at", "NULL")
	confirmed := c.Suspect()
	c = b.claimed(t, b.row(t, c.ID), lease, single)
	req := closeRequest(c, perennial.OutcomeRevoked)
	req.Suspect, req.Failed = !confirmed, confirmed
	if confirmed {
		req.Terminal = perennial.ReasonInvalidGrant
	}
	row, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	return row
}

// testHoldOfTenant: refusals of one of several tenants raise no hold for all, unless the
// tenant has most of the app. Those of several tenants do.
func testHoldOfTenant(t *testing.T, b *bundle) {
	for others, raised := range map[int]bool{20: false, 6: true} {
		app := "app-" + uuid.NewString()
		own, other := b.with(t, app, "own", 8, false), b.with(t, app, "other", others, false)
		for _, c := range own {
			b.refuse(t, c)
		}
		require.Equal(t, raised, b.state(t, app).RefusalHold, others)
		if raised {
			continue
		}
		require.Equal(t, perennial.StatusReconnectRequired, b.refuse(t, own[0]).Status, "it is true for this tenant")
		b.refuse(t, other[0])
		require.True(t, b.state(t, app).RefusalHold, "of two tenants")
		events, err := b.Events(t.Context(), "", 1)
		require.NoError(t, err)
		require.Equal(t, []string{"other", "own"}, events[0].Data.Tenants)
	}
}

// testHoldSince: a hold keeps back the refusals since its first evidence.
func testHoldSince(t *testing.T, b *bundle) {
	cs := b.app(t, 6)
	before := b.refuse(t, cs[0])
	b.set(t, before.ID, "refresh_count", "100") // not new: see testConsents
	b.set(t, before.ID, "suspect_since", "'2020-01-01 00:00:00+00:00'")
	b.Exec(t, "DELETE FROM first_refusals WHERE connection_id = '"+before.ID+"'")
	for _, c := range cs[1:4] {
		b.refuse(t, c)
	}
	require.True(t, b.state(t, cs[0].App).RefusalHold)
	require.Equal(t, perennial.StatusReconnectRequired, b.refuse(t, before).Status)
	held := b.refuse(t, cs[1])
	require.Equal(t, perennial.StatusActive, held.Status)
	require.Equal(t, store.CodeRefusalHold, held.FailingCode)
}

// testHoldUnproven: connections that never worked, or that have failed for days, raise
// no hold.
func testHoldUnproven(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	b.with(t, app, "honest", 5, false)
	junk := b.with(t, app, "careless", 8, true)
	old := b.with(t, app, "old", 8, false)
	for _, c := range old {
		b.set(t, c.ID, "failure_count", "50")
		b.set(t, c.ID, "last_refreshed_at", "'2020-01-01 00:00:00+00:00'")
	}
	for _, c := range append(junk, old...) {
		b.refuse(t, c)
	}
	require.False(t, b.state(t, app).RefusalHold)
}

// testImports: the refusals of many imports of a tenant tell nobody to reconnect before
// an operator has confirmed them. Those of a few are believed.
func testImports(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	few, many := b.with(t, app, "few", 2, true), b.with(t, app, "many", 4, true)
	b.with(t, app, "many", 1, false)
	for _, c := range append(append([]perennial.Connection{}, few...), many...) {
		b.refuse(t, c)
	}
	for _, c := range few {
		require.Equal(t, perennial.StatusReconnectRequired, b.refuse(t, c).Status)
	}
	for _, c := range many {
		c = b.refuse(t, c)
		require.Equal(t, perennial.StatusActive, c.Status)
		require.Equal(t, store.CodeNeverWorked, c.FailingCode)
		require.True(t, c.NextAttemptAt.After(c.UpdatedAt))
	}
	require.Equal(t, []string{"many"}, b.state(t, app).ImportHolds)
	require.False(t, b.state(t, app).RefusalHold, "it concerns no other")
	raised := 0
	events, err := b.Events(t.Context(), "", 100)
	require.NoError(t, err)
	for _, e := range events {
		if e.App == app && e.Type == perennial.EventHoldRaised {
			raised++
			require.Equal(t, "4 of 5 imports of tenant many were refused", e.Data.Code)
			require.Empty(t, e.TenantID, "it is for operators")
		}
	}
	require.Equal(t, 1, raised)

	require.NoError(t, b.ConfirmRefusalHold(t.Context(), app))
	require.Empty(t, b.state(t, app).ImportHolds)
	for _, c := range many {
		require.Equal(t, perennial.StatusReconnectRequired, b.refuse(t, c).Status)
	}
}

// testQuietHold: a hold ends by itself after an hour without a first refusal, while
// nearly all others are refreshed. One that an operator raised stays.
func testQuietHold(t *testing.T, b *bundle) {
	type change func(app string)
	past := "'2020-01-01 00:00:00+00:00'"
	hold := func(n int) (string, []perennial.Connection) {
		app := "app-" + uuid.NewString()
		cs := append(b.with(t, app, "acme", n/2, false), b.with(t, app, "other", n/2, false)...)
		refused := []perennial.Connection{cs[0], cs[1], cs[n-1]}
		if n >= 40 {
			refused = append(refused, cs[2])
		}
		for _, c := range refused {
			b.refuse(t, c)
		}
		require.True(t, b.state(t, app).RefusalHold)
		for _, c := range refused {
			require.Equal(t, store.CodeRefusalHold, b.refuse(t, c).FailingCode)
		}
		b.attempted(t, cs[4:n-1], perennial.OutcomeRefreshed)
		b.Exec(t, "UPDATE apps SET held_at = "+past+" WHERE app = '"+app+"'")
		b.Exec(t, "UPDATE first_refusals SET refused_at = "+past+" WHERE app = '"+app+"'")
		return app, cs
	}
	for name, unlike := range map[string]change{
		"":                nil,
		"raised just now": func(app string) { b.Exec(t, "UPDATE apps SET held_at = "+b.clock(t)+" WHERE app = '"+app+"'") },
		"by an operator":  func(app string) { b.Exec(t, "UPDATE apps SET hold_since = NULL WHERE app = '"+app+"'") },
		"still being refused": func(app string) {
			b.Exec(t, "UPDATE first_refusals SET refused_at = "+b.clock(t)+" WHERE app = '"+app+"'")
		},
		"nothing tried": func(app string) { b.Exec(t, "UPDATE attempts SET started_at = "+past) },
		"others fail":   func(app string) { b.Exec(t, "UPDATE attempts SET outcome = 'unknown' WHERE outcome = 'refreshed'") },
		"a large part": func(app string) {
			b.Exec(t, "UPDATE connections SET suspect_since = "+past+" WHERE app = '"+app+"' AND tenant_id = 'acme'")
		},
	} {
		app, _ := hold(40)
		if unlike != nil {
			unlike(app)
		}
		ended, err := b.EndQuietHolds(t.Context())
		require.NoError(t, err)
		require.Equal(t, unlike == nil, len(ended) == 1 && ended[0] == app, "%q: %v", name, ended)
		require.Equal(t, unlike != nil, b.state(t, app).RefusalHold, name)
		b.Exec(t, "DELETE FROM apps WHERE app = '"+app+"'")
	}

	app, cs := hold(40)
	_, err := b.EndQuietHolds(t.Context())
	require.NoError(t, err)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	var waits []time.Duration
	for _, c := range []perennial.Connection{cs[0], cs[1], cs[39], cs[2]} {
		waits = append(waits, b.row(t, c.ID).NextAttemptAt.Sub(now).Round(time.Hour))
	}
	require.ElementsMatch(t, []time.Duration{0, time.Hour, 2 * time.Hour, 3 * time.Hour}, waits, "one an hour")
	require.Equal(t, perennial.StatusReconnectRequired, b.refuse(t, cs[0]).Status, "%s: confirmed once more", app)
}

// clock returns the database's time as SQL.
func (b *bundle) clock(t *testing.T) string {
	t.Helper()
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	return stampText(now)
}

// testReleaseBesideSick: a connection that failed before the outage, and fails on, does not
// open the circuit again. One that was well does.
func testReleaseBesideSick(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	well := append(b.with(t, app, "acme", 6, false), b.with(t, app, "other", 6, false)...)
	sick := b.with(t, app, "third", 2, false)
	b.attempted(t, sick, perennial.OutcomeUnknown)
	b.Exec(t, "UPDATE failures SET since = '2020-01-01 00:00:00+00:00' WHERE app = '"+app+"'")
	b.attempted(t, well[:6], perennial.OutcomeUnknown)
	require.True(t, b.open(t, app))
	b.note(t, b.row(t, well[6].ID), perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, app))
	for range 2 {
		b.attempted(t, sick, perennial.OutcomeUnknown)
		b.attempted(t, well[:6], perennial.OutcomeUnknown)
	}
	require.True(t, b.releasing(t, app), "those that opened it fail perhaps for themselves alone by now")
	never := b.with(t, app, "other", 1, true)
	b.attempted(t, never, perennial.OutcomeUnknown)
	b.attempted(t, well[7:8], perennial.OutcomeMisconfigured)
	require.True(t, b.releasing(t, app), "nor does a failure of another kind")
	b.attempted(t, well[8:9], perennial.OutcomeUnknown)
	require.True(t, b.open(t, app) && !b.releasing(t, app))

	b.note(t, b.row(t, well[9].ID), perennial.OutcomeRefreshed, "")
	require.True(t, b.releasing(t, app))
	b.attempted(t, append(b.with(t, app, "fourth", 1, false), well[10]), perennial.OutcomeMisconfigured)
	require.True(t, b.open(t, app) && !b.releasing(t, app), "enough failures of another kind do")
}

// testAnotherTroubleInARelease: those that failed in an outage, and fail in another way
// while it is being ended, open the circuit again: no success since disproves them.
func testAnotherTroubleInARelease(t *testing.T, b *bundle) {
	app := "app-" + uuid.NewString()
	sick := b.with(t, app, "third", 2, false)
	b.attempted(t, sick, perennial.OutcomeUnavailable)
	b.Exec(t, "UPDATE failures SET since = '2020-01-01 00:00:00+00:00' WHERE app = '"+app+"'")
	cs := append(b.with(t, app, "acme", 6, false), b.with(t, app, "other", 6, false)...)
	b.attempted(t, cs[:6], perennial.OutcomeUnavailable)
	require.True(t, b.open(t, app))
	b.attempted(t, cs[6:7], perennial.OutcomeRefreshed)
	b.note(t, b.row(t, cs[6].ID), perennial.OutcomeRefreshed, "")
	b.attempted(t, sick, perennial.OutcomeMisconfigured)
	require.True(t, b.releasing(t, app), "these fail since long before the outage")
	b.attempted(t, cs[:1], perennial.OutcomeMisconfigured)
	b.attempted(t, cs[7:8], perennial.OutcomeRefreshed)
	b.attempted(t, cs[1:2], perennial.OutcomeMisconfigured)
	require.True(t, b.releasing(t, app), "another was refreshed since the first of them failed in this way")
	b.attempted(t, cs[2:3], perennial.OutcomeMisconfigured)
	require.True(t, b.open(t, app) && !b.releasing(t, app), "a wrong secret that came during the release")
}
