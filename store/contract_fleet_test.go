package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

const interval = time.Minute

func admit(c perennial.Connection) store.AdmitRequest {
	return store.AdmitRequest{Connection: c, Interval: interval, Patience: time.Second, Lead: 10 * time.Millisecond}
}

func (b *bundle) admitted(t *testing.T, c perennial.Connection) store.Admission {
	t.Helper()
	a, err := b.Admit(t.Context(), admit(c))
	require.NoError(t, err)
	return a
}

func (b *bundle) note(t *testing.T, c perennial.Connection, o perennial.Outcome, code string) {
	t.Helper()
	require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: c, Outcome: o, Code: code, Interval: interval}))
}

// app creates n connections of one new app.
func (b *bundle) app(t *testing.T, n int) []perennial.Connection {
	t.Helper()
	name := "app-" + uuid.NewString()
	var out []perennial.Connection
	for i := range n {
		c, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: uuid.NewString(), TenantID: "acme", App: name, Provider: "hubspot",
			Host: "api.hubapi.com", AccountID: fmt.Sprint(i)}, tokens(1, "1"))
		require.NoError(t, err)
		out = append(out, c)
	}
	return out
}

func (b *bundle) state(t *testing.T, app string) store.AppState {
	t.Helper()
	s, err := b.AppState(t.Context(), app)
	require.NoError(t, err)
	return s
}

func (b *bundle) open(t *testing.T, app string) bool {
	t.Helper()
	for _, c := range b.state(t, app).Circuits {
		if c.Open {
			return true
		}
	}
	return false
}

func (b *bundle) events(t *testing.T, app string) []perennial.EventType {
	t.Helper()
	all, err := b.Events(t.Context(), "", 1000)
	require.NoError(t, err)
	var out []perennial.EventType
	for _, e := range all {
		if e.App == app && e.Type != perennial.EventConnected {
			out = append([]perennial.EventType{e.Type}, out...)
		}
	}
	return out
}

func testSlowDown(t *testing.T, b *bundle) {
	cs := b.app(t, 2)
	require.NoError(t, b.NoteReply(t.Context(), store.NoteRequest{Connection: cs[0], Outcome: perennial.OutcomeRateLimited, SlowDown: time.Hour, Interval: interval}))
	a := b.admitted(t, cs[1])
	require.Equal(t, store.CodeSlowDown, a.Code)
	require.False(t, a.RetryAt.Before(a.Now.Add(time.Hour-time.Second)))
	claim := b.claim(t, a.Connection, lease, single)
	require.Equal(t, store.VerdictWait, claim.Verdict, "nor does the fence let it through")
}

// testLimitManyProcesses: several processes get rate slots of one app at once.
func testLimitManyProcesses(t *testing.T, b *bundle) {
	cs := b.app(t, 40)
	var admitted, asked atomic.Int64
	slots := make([]time.Time, len(cs))
	b.together(t, func(ctx context.Context, s *store.Store, n int) error {
		if n >= len(cs) {
			return nil
		}
		asked.Add(1)
		req := admit(cs[n])
		req.Rate, req.Patience = 100, time.Minute
		a, err := s.Admit(ctx, req)
		if err == nil && a.Admitted {
			admitted.Add(1)
			slots[n] = a.SlotAt
		}
		return err
	})
	require.Equal(t, asked.Load(), admitted.Load())
	seen := map[time.Time]bool{}
	for _, slot := range slots {
		if slot.IsZero() {
			continue
		}
		require.False(t, seen[slot], "a slot was given out twice")
		seen[slot] = true
	}
}

func testHold(t *testing.T, b *bundle) {
	cs := b.app(t, 5)
	app := cs[0].App
	refuse := func(c perennial.Connection, terminal perennial.Reason) perennial.Connection {
		t.Helper()
		c = b.claimed(t, c, lease, single)
		req := closeRequest(c, perennial.OutcomeRevoked)
		req.Suspect, req.Terminal = terminal == "", terminal
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		return row
	}
	first := refuse(cs[0], "")
	first = refuse(first, "")
	require.False(t, b.state(t, app).RefusalHold, "one connection's refusals count once")
	first = refuse(first, perennial.ReasonInvalidGrant)
	require.Equal(t, perennial.StatusReconnectRequired, first.Status, "no hold: believed")

	held := refuse(cs[1], "")
	refuse(cs[2], "")
	s := b.state(t, app)
	require.True(t, s.RefusalHold, "three of five at once are a spike")
	require.NotEmpty(t, s.HoldReason)
	held = refuse(held, perennial.ReasonInvalidGrant)
	require.Equal(t, perennial.StatusActive, held.Status)
	require.Equal(t, store.CodeRefusalHold, held.FailingCode)
	require.True(t, held.NextAttemptAt.After(held.UpdatedAt))

	require.NoError(t, b.DismissRefusalHold(t.Context(), app))
	held = b.row(t, held.ID)
	require.False(t, held.Suspect(), "a false alarm: two refusals are needed anew")
	b.Until(t, held.NextAttemptAt)
	require.False(t, b.state(t, app).RefusalHold)

	require.NoError(t, b.RaiseRefusalHold(t.Context(), app, "by hand"))
	held = refuse(refuse(held, ""), perennial.ReasonInvalidGrant)
	require.Equal(t, perennial.StatusActive, held.Status)
	require.NoError(t, b.ConfirmRefusalHold(t.Context(), app))
	held = b.row(t, held.ID)
	require.True(t, held.Suspect())
	b.Until(t, held.NextAttemptAt)
	require.Equal(t, perennial.StatusReconnectRequired, refuse(held, perennial.ReasonInvalidGrant).Status)
	for _, c := range cs[2:] {
		refuse(b.row(t, c.ID), "")
	}
	require.False(t, b.state(t, app).RefusalHold, "muted")
}

// testHoldBesideConfirm: a spike of refusals that is counted while an operator confirms
// the hold raises no new hold. SQLite has one writer at a time.
func testHoldBesideConfirm(t *testing.T, b *bundle) {
	if b.IsSQLite() {
		return
	}
	cs := b.app(t, 5)
	app := cs[0].App
	suspect := func(c perennial.Connection) error {
		c = b.claimed(t, c, lease, single)
		req := closeRequest(c, perennial.OutcomeRevoked)
		req.Suspect = true
		_, _, err := b.CloseAttempt(context.WithoutCancel(t.Context()), req)
		return err
	}
	require.NoError(t, suspect(cs[0]))
	require.NoError(t, suspect(cs[1]))
	b.Exec(t, "INSERT INTO apps (app, updated_at) VALUES ('"+app+"', now())")
	db := b.Foreign(t)
	defer db.Close()
	operator, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = operator.Rollback() }()
	_, err = operator.ExecContext(t.Context(), "UPDATE apps SET muted_until = now() + interval '1 hour' WHERE app = $1", app)
	require.NoError(t, err)
	raised := make(chan error, 1)
	go func() { raised <- suspect(cs[2]) }()
	require.Eventually(t, func() bool {
		return b.Number(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	}, time.Minute, 5*time.Millisecond, "it waits for the operator")
	require.NoError(t, operator.Commit())
	require.NoError(t, <-raised)
	require.False(t, b.state(t, app).RefusalHold)
}

// testEvents: one change writes one event, in the same transaction.
func testEvents(t *testing.T, b *bundle) {
	c := b.app(t, 1)[0]
	fail := func() {
		c = b.claimed(t, c, lease, single)
		req := closeRequest(c, perennial.OutcomeUnavailable)
		req.Failed, req.FailingAfter, req.FailingCode = true, 2, "http_503"
		var err error
		c, _, err = b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
	}
	fail()
	require.Empty(t, b.events(t, c.App))
	fail()
	fail()
	c = b.claimed(t, c, lease, single)
	saved, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	c = saved.Connection
	want := []perennial.EventType{perennial.EventFailing, perennial.EventRecovered}
	require.Equal(t, want, b.events(t, c.App))
	late := b.claimed(t, c, lease, single)
	c, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	_, err = b.Save(t.Context(), saveRequest(late, "3"))
	require.NoError(t, err)
	_, err = b.Save(t.Context(), saveRequest(late, "3"))
	require.NoError(t, err, "repeated")
	c = b.row(t, c.ID)
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, c.Generation, perennial.StatusDisconnected, "")
	require.NoError(t, err)
	want = append(want, perennial.EventReconnectRequired, perennial.EventRecovered, perennial.EventDisconnected)
	require.Equal(t, want, b.events(t, c.App))
	all, err := b.Events(t.Context(), c.ID, 100)
	require.NoError(t, err)
	require.Equal(t, perennial.EventConnected, all[len(all)-1].Type)
	require.Equal(t, "acme", all[0].TenantID)
}
