package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// neglected returns the ids of the neglected connections, and how many were found.
func (b *bundle) neglected(t *testing.T) (ids []string, found int) {
	t.Helper()
	out, err := b.Neglected(t.Context(), store.NeglectedRequest{Patience: 2 * time.Minute, Limit: 100})
	require.NoError(t, err)
	for _, c := range out.Connections {
		ids = append(ids, c.ID)
	}
	return ids, out.Found
}

// late makes a connection that was due and whose token expires at these times from now.
func (b *bundle) late(t *testing.T, c perennial.Connection, due, expires time.Duration) string {
	t.Helper()
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.set(t, c.ID, "next_refresh_at", stampText(now.Add(due)))
	b.set(t, c.ID, "expires_at", stampText(now.Add(expires)))
	return c.ID
}

// serve writes the ledger line of a refresh that began ago and was late.
func (b *bundle) serve(t *testing.T, c perennial.Connection, trigger perennial.Trigger, outcome perennial.Outcome, ago, late time.Duration) {
	t.Helper()
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, fmt.Sprintf("INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, lateness_ms, started_at) VALUES ('%s %s %s %s', '%s', 1, '%s', '%s', %d, %s)",
		c.ID, trigger, ago, late, c.ID, trigger, outcome, late.Milliseconds(), stampText(now.Add(-ago))))
}

// testNeglectedOrder: the soonest expiry comes first, in any app; an open attempt
// comes last; a refusal that its workflow must confirm is only counted.
func testNeglectedOrder(t *testing.T, b *bundle) {
	one, other := b.app(t, 4), b.app(t, 2)
	second := b.late(t, one[0], -10*time.Minute, time.Minute)
	first := b.late(t, other[0], -9*time.Minute, -time.Minute)
	third := b.late(t, one[1], -8*time.Minute, 2*time.Minute)
	b.late(t, other[1], time.Minute, 6*time.Minute)
	lost := b.late(t, one[2], -time.Hour, -time.Hour)
	b.set(t, lost, "attempt_id", "'a'")
	b.set(t, lost, "attempt_deadline", "next_refresh_at")
	suspect := b.late(t, one[3], -time.Hour, -time.Hour)
	b.set(t, suspect, "suspect_since", "next_refresh_at")
	b.set(t, suspect, "suspect_digest", "refresh_token_digest")
	ids, found := b.neglected(t)
	require.Equal(t, []string{first, second, third, lost}, ids)
	require.Equal(t, 5, found)
	b.set(t, second, "ambiguous_since", "next_refresh_at")
	b.set(t, second, "ambiguous_digest", "refresh_token_digest")
	ids, _ = b.neglected(t)
	require.Equal(t, []string{first, third, lost, second}, ids, "one in doubt must not keep back the others")
	b.set(t, second, "ambiguous_since", "NULL")

	out, err := b.Neglected(t.Context(), store.NeglectedRequest{Patience: 2 * time.Minute, Limit: 2})
	require.NoError(t, err)
	require.Len(t, out.Connections, 2)
	require.Equal(t, first, out.Connections[0].ID)
	require.Equal(t, 5, out.Found)
	require.Equal(t, b.row(t, lost).NextRefreshAt, out.Since)
	for _, c := range append(one, other...) {
		is, err := b.IsNeglected(t.Context(), b.row(t, c.ID), 2*time.Minute)
		require.NoError(t, err)
		require.Equal(t, c.ID != other[1].ID, is)
	}
	is, err := b.IsNeglected(t.Context(), b.row(t, first), time.Hour)
	require.NoError(t, err)
	require.True(t, is, "more than half of its buffer")
}

// testPassedOver: a backlog that is being served in the order of its due times is no
// neglect. A connection that stays behind while later ones are served is.
func testPassedOver(t *testing.T, b *bundle) {
	cs := b.app(t, 3)
	stuck := b.late(t, cs[0], -30*time.Minute, 30*time.Minute)
	waits := b.late(t, cs[1], -10*time.Minute, 50*time.Minute)
	served := cs[2]
	both := []string{stuck, waits}
	is := func(why string, want ...string) {
		t.Helper()
		ids, _ := b.neglected(t)
		require.ElementsMatch(t, want, ids, why)
	}
	is("nothing is served", both...)
	b.serve(t, served, perennial.TriggerTimer, perennial.OutcomeRefreshed, 20*time.Second, 12*time.Minute)
	is("nothing was served lately", both...)
	b.serve(t, served, perennial.TriggerFallback, perennial.OutcomeRefreshed, time.Second, 12*time.Minute)
	is("refreshes beside Temporal do not count", both...)
	b.serve(t, served, perennial.TriggerRetry, perennial.OutcomeUnavailable, time.Second, 12*time.Minute)
	is("failures do not count", both...)
	b.serve(t, served, perennial.TriggerRequest, perennial.OutcomeRefreshed, time.Second, -12*time.Minute)
	is("requests before the due time do not count", both...)
	b.serve(t, served, perennial.TriggerTimer, perennial.OutcomeRefreshed, 2*time.Second, 12*time.Minute)
	is("the backlog's turn comes", stuck)
	b.serve(t, served, perennial.TriggerTimer, perennial.OutcomeRefreshed, 3*time.Second, time.Minute)
	is("both were passed over", both...)
}

// testNeglectedUnderLimit: while an app's rate slots are taken, its connections wait for
// them.
func testNeglectedUnderLimit(t *testing.T, b *bundle) {
	cs := b.app(t, 2)
	late := b.late(t, cs[0], -30*time.Minute, 30*time.Minute)
	ids, _ := b.neglected(t)
	require.Equal(t, []string{late}, ids)
	a, err := b.Admit(t.Context(), store.AdmitRequest{Connection: b.row(t, cs[1].ID), Rate: 0.001, Interval: time.Minute, Patience: time.Minute})
	require.NoError(t, err)
	require.True(t, a.Admitted)
	ids, _ = b.neglected(t)
	require.Empty(t, ids, "the next slot is in twenty minutes")
	b.set(t, late, "queued_at", "next_refresh_at")
	ids, _ = b.neglected(t)
	require.Equal(t, []string{late}, ids, "it had a slot, and nobody used it")
}

// testNeglectedProbe: a probe that nobody makes is neglected too. While the circuit is
// open and its next probe to come, its connections wait for it.
func testNeglectedProbe(t *testing.T, b *bundle) {
	late := b.late(t, b.app(t, 1)[0], -30*time.Minute, 30*time.Minute)
	c := b.row(t, late)
	probe := func(at time.Duration) []string {
		t.Helper()
		now, err := b.Now(t.Context())
		require.NoError(t, err)
		b.Exec(t, "DELETE FROM circuits")
		b.Exec(t, fmt.Sprintf("INSERT INTO circuits (app, host, reason, opened_at, next_probe_at, updated_at) VALUES ('%s', '%s', 'unavailable', %s, %s, %s)",
			c.App, c.Host, stampText(now.Add(-time.Hour)), stampText(now.Add(at)), stampText(now)))
		ids, _ := b.neglected(t)
		return ids
	}
	require.Empty(t, probe(time.Minute))
	require.Empty(t, probe(-time.Second), "a workflow makes it at any moment")
	require.Equal(t, []string{late}, probe(-time.Minute))
}

// testAttemptLost: whether tokens may exist that the row does not have is known from the
// row and the ledger: an attempt that was closed brought none.
func testAttemptLost(t *testing.T, b *bundle) {
	lost := func(c perennial.Connection) bool {
		t.Helper()
		is, err := b.AttemptLost(t.Context(), c)
		require.NoError(t, err)
		return is
	}
	c := b.connect(t)
	require.False(t, lost(c))
	c = b.claimed(t, c, time.Minute, perennial.ReplayUnknown)
	require.True(t, lost(c), "it is open")
	c = b.closedUnknown(t, c)
	require.True(t, c.Ambiguous())
	require.False(t, lost(c), "it was closed")

	c = b.claimed(t, c, time.Millisecond, perennial.ReplayUnknown)
	b.pass(t, c)
	c = b.claimed(t, c, time.Minute, perennial.ReplayUnknown)
	c = b.closedUnknown(t, c)
	require.True(t, lost(c), "the one before it never was")
}

// closedUnknown closes the connection's attempt with an unknown outcome.
func (b *bundle) closedUnknown(t *testing.T, c perennial.Connection) perennial.Connection {
	t.Helper()
	req := closeRequest(c, perennial.OutcomeUnknown)
	req.Ambiguous = true
	c, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	return c
}

// pass waits until the attempt is lost.
func (b *bundle) pass(t *testing.T, c perennial.Connection) {
	t.Helper()
	require.Eventually(t, func() bool { now, err := b.Now(t.Context()); return err == nil && now.After(c.Open.Deadline) }, time.Minute, time.Millisecond)
}

// testClaimBeside: a process beside Temporal takes a connection in doubt only if it has
// judged the row as it is.
func testClaimBeside(t *testing.T, b *bundle) {
	claim := func(c perennial.Connection, attempt string, judged time.Time) store.Verdict {
		t.Helper()
		got, err := b.Claim(t.Context(), store.ClaimRequest{ID: c.ID, Generation: c.Generation, Trigger: perennial.TriggerFallback, AttemptID: attempt, Lease: time.Minute,
			Class: perennial.ReplayUnknown, Judged: judged})
		require.NoError(t, err)
		return got.Verdict
	}
	well := b.connect(t)
	require.Equal(t, store.VerdictClaimed, claim(well, "1", time.Time{}), "no doubt, no judgement")

	seen := b.connect(t)
	c := b.claimed(t, seen, time.Millisecond, perennial.ReplayUnknown)
	b.pass(t, c)
	require.Equal(t, store.VerdictBusy, claim(c, "2", seen.UpdatedAt), "the attempt is newer than what was judged")
	require.Equal(t, c.Open.ID, b.row(t, c.ID).Open.ID, "and stays")
	require.Equal(t, store.VerdictClaimed, claim(c, "3", c.UpdatedAt))
	require.Equal(t, store.VerdictClaimed, claim(c, "3", time.Time{}), "its own")

	c = b.closedUnknown(t, b.row(t, c.ID))
	require.Equal(t, store.VerdictBusy, claim(c, "4", seen.UpdatedAt), "it is ambiguous by now")
	require.Equal(t, store.VerdictClaimed, claim(c, "5", c.UpdatedAt))
}
