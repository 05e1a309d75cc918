package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// nothingGoes requires that every way to a presentation is shut for the app.
func (b *bundle) nothingGoes(t *testing.T, cs []perennial.Connection, what string) {
	t.Helper()
	ctx, app := t.Context(), cs[0].App
	for _, c := range cs {
		c = b.row(t, c.ID)
		for name, req := range map[string]store.AdmitRequest{"as ever": {}, "with a limit": {Rate: 100}, "for one more request": {Rate: 100, SlotOnly: true}} {
			req.Connection, req.Interval, req.Patience = c, interval, time.Second
			got, err := b.Admit(ctx, req)
			require.NoError(t, err)
			require.False(t, got.Admitted, "%s, %s", what, name)
			require.Equal(t, store.CodeStopped, got.Code, "%s, %s", what, name)
			require.True(t, got.RetryAt.After(got.Now.Add(9*time.Minute)) && got.Connection.OwnWait(), "%s, %s: it sleeps, and a start may wake it", what, name)
		}
		b.set(t, c.ID, "next_attempt_at", stampText(c.CreatedAt)) // its wait is over
		_, ok, err := b.FastClaim(ctx, app, claimRequest(c, lease, single))
		require.NoError(t, err)
		require.False(t, ok, what)
		_, ok, err = b.FastAdmit(ctx, store.FastAdmitRequest{ID: c.ID, Generation: c.Generation, App: app, Rate: 100, Patience: time.Second})
		require.NoError(t, err)
		require.False(t, ok, what)
	}
	req := paceRequest(0, 1, 100, 0)
	req.App = app
	for range 2 { // the first creates the pacer's row
		got, err := b.ClaimDue(ctx, req)
		require.NoError(t, err)
		require.Empty(t, got.Claims, what)
	}
	_, _, taken, err := b.TakeSlots(ctx, app, 100, 0, time.Second, 10)
	require.NoError(t, err)
	require.Zero(t, taken, what)
	released, more, err := b.Release(ctx, store.ReleaseRequest{App: app})
	require.NoError(t, err)
	require.Empty(t, released, what)
	require.False(t, more, what)
	require.Empty(t, b.call(t, app), what)
	for _, of := range []func() ([]string, error){func() ([]string, error) { return b.ReleasingApps(ctx) }, func() ([]string, error) { return b.ProbesDue(ctx, time.Hour) }} {
		apps, err := of()
		require.NoError(t, err)
		require.NotContains(t, apps, app, what)
	}
}

// testStop: nobody presents a token of a stopped app, in any state of its circuit.
// A start opens no door: the connections have their turns, from the first two on.
func testStop(t *testing.T, b *bundle) {
	for name, prepare := range map[string]func(cs []perennial.Connection){
		"closed": func([]perennial.Connection) {},
		"open, and its probe is due": func(cs []perennial.Connection) {
			b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
			b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
			b.probeAt(t, cs[0].App, time.Now().Add(-time.Minute))
		},
		"releasing": func(cs []perennial.Connection) {
			b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
			b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
			for _, c := range cs[2:] {
				require.False(t, b.admitted(t, c).Admitted)
			}
			b.note(t, cs[0], perennial.OutcomeRefreshed, "")
			turns, _, err := b.Release(t.Context(), store.ReleaseRequest{App: cs[0].App})
			require.NoError(t, err)
			require.Len(t, turns, 2)
		},
	} {
		cs := b.app(t, 8)
		app := cs[0].App
		now, err := b.Now(t.Context())
		require.NoError(t, err)
		for _, c := range cs {
			b.set(t, c.ID, "next_refresh_at", stampText(now.Add(-time.Minute)))
			b.set(t, c.ID, "expires_at", stampText(now.Add(time.Minute)))
		}
		prepare(cs)
		require.NoError(t, b.StopApp(t.Context(), app))
		require.NoError(t, b.StopApp(t.Context(), app))
		require.False(t, b.state(t, app).StoppedAt.IsZero())
		b.nothingGoes(t, cs, name)
		require.Equal(t, perennial.HealthFailing, b.row(t, cs[7].ID).Health, "%s: its product will be without a token", name)
		_, err = b.ProbeNow(t.Context(), app, single)
		requireCode(t, perennial.CodeConflict, err)
		_, err = b.CloseCircuits(t.Context(), app)
		requireCode(t, perennial.CodeConflict, err)

		require.NoError(t, b.StartApp(t.Context(), app))
		require.NoError(t, b.StartApp(t.Context(), app))
		require.True(t, b.state(t, app).StoppedAt.IsZero())
		require.Equal(t, "start", b.state(t, app).OperatorDid)
		if name == "open, and its probe is due" {
			require.True(t, b.open(t, app) && !b.releasing(t, app), "its trouble may not be over")
			require.Len(t, b.call(t, app), 1)
			b.note(t, cs[0], perennial.OutcomeRefreshed, "")
		}
		require.True(t, b.releasing(t, app), name)
		require.False(t, b.admitted(t, b.row(t, cs[5].ID)).Admitted, "%s: in turn", name)
		first, _, err := b.Release(t.Context(), store.ReleaseRequest{App: app})
		require.NoError(t, err)
		require.Len(t, first, 2, name)
		for _, c := range first {
			b.refreshed(t, c.ID)
		}
		b.releaseAll(t, app, nil)
		require.False(t, b.open(t, app), name)
		for _, c := range cs {
			require.EqualValues(t, 2, b.row(t, c.ID).Generation, "%s: each has gone", name)
		}
		events := b.events(t, app)
		count := map[perennial.EventType]int{}
		for _, e := range events {
			count[e]++
		}
		require.Equal(t, [2]int{1, 1}, [2]int{count[perennial.EventAppStopped], count[perennial.EventAppStarted]}, "%s: %v", name, events)
	}
}

// testStartTooEarly: the first failure after a start, of any kind, opens the circuit
// with its own reason.
func testStartTooEarly(t *testing.T, b *bundle) {
	for outcome, reason := range map[perennial.Outcome]string{perennial.OutcomeMisconfigured: "misconfigured", perennial.OutcomeUnknown: "unavailable", perennial.OutcomeRejected: "rejected"} {
		cs := b.app(t, 4)
		require.NoError(t, b.StopApp(t.Context(), cs[0].App))
		for _, c := range cs {
			require.False(t, b.admitted(t, c).Admitted)
		}
		require.NoError(t, b.StartApp(t.Context(), cs[0].App))
		turns, _, err := b.Release(t.Context(), store.ReleaseRequest{App: cs[0].App})
		require.NoError(t, err)
		require.Len(t, turns, 2)
		c := b.row(t, turns[0].ID)
		b.Until(t, c.NextAttemptAt)
		b.note(t, b.claimed(t, c, lease, single), outcome, "code")
		circuit := b.circuit(t, c.App)
		require.True(t, circuit.Open && !circuit.Releasing, outcome)
		require.Equal(t, reason, circuit.Reason)
		require.Equal(t, "code", circuit.Code)
		require.False(t, b.admitted(t, b.row(t, turns[1].ID)).Admitted, "its turn is taken back")
	}
}

// testStartManyHosts: connections at several hosts have their turns at each.
func testStartManyHosts(t *testing.T, b *bundle) {
	app := "hosts-" + uuid.NewString()
	for _, host := range []string{"", "a.example", "b.example"} {
		for range 3 {
			id := uuid.NewString()
			_, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: "acme", App: app, Provider: "generic", Host: host, AccountID: id}, tokens(1, "1"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, b.StopApp(t.Context(), app))
	require.NoError(t, b.StartApp(t.Context(), app))
	state := b.state(t, app)
	require.Len(t, state.Circuits, 3)
	for _, c := range state.Circuits {
		require.True(t, c.Releasing, c.Host)
		require.Equal(t, store.CodeStopped, c.Code)
	}
}

// testProbeAndClose: an operator's word makes the probe due, with any connection that may
// be presented, or closes the circuit by a release.
func testProbeAndClose(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	app := cs[0].App
	_, err := b.ProbeNow(t.Context(), app, single)
	requireCode(t, perennial.CodeConflict, err)
	_, err = b.CloseCircuits(t.Context(), app)
	requireCode(t, perennial.CodeConflict, err)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	for _, c := range cs {
		b.set(t, c.ID, "next_refresh_at", stampText(now.Add(time.Hour)))
	}
	b.note(t, cs[0], perennial.OutcomeMisconfigured, "invalid_client")
	b.note(t, cs[1], perennial.OutcomeMisconfigured, "invalid_client")
	require.Empty(t, b.call(t, app), "by itself nobody presents a token that is not due")
	called, err := b.ProbeNow(t.Context(), app, single)
	require.NoError(t, err)
	require.Len(t, called, 1)
	require.True(t, b.admitted(t, called[0]).Probe)
	require.Equal(t, "probe", b.state(t, app).OperatorDid)

	closed, err := b.CloseCircuits(t.Context(), app)
	require.NoError(t, err)
	require.Equal(t, []string{cs[0].Host}, closed)
	require.True(t, b.releasing(t, app), "no open door")
	_, err = b.CloseCircuits(t.Context(), app)
	requireCode(t, perennial.CodeConflict, err)
	b.releaseAll(t, app, nil)
	require.Equal(t, []perennial.EventType{perennial.EventCircuitOpened, perennial.EventCircuitReleasing, perennial.EventCircuitClosed}, b.events(t, app))
}
