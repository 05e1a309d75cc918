package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	single  = perennial.ReplaySingleUse
	revokes = perennial.ReplayReuseRevokes
)

func testClaim(t *testing.T, b *bundle) {
	c := b.connect(t)
	req := claimRequest(c, lease, single)
	first, err := b.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, store.VerdictClaimed, first.Verdict)
	require.False(t, first.RolledBack)
	open := first.Connection.Open
	require.Equal(t, perennial.OpenAttempt{ID: req.AttemptID, Digest: digest("1"), StartedAt: first.Now, Deadline: first.Now.Add(lease), Trigger: perennial.TriggerTimer}, open)
	require.Equal(t, open, b.row(t, c.ID).Open)

	again, err := b.Claim(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, store.VerdictClaimed, again.Verdict, "the first answer was lost")
	require.Equal(t, open, again.Connection.Open, "and the deadline did not move")

	other := b.claim(t, c, lease, single)
	require.Equal(t, store.VerdictBusy, other.Verdict)
	require.Equal(t, open.Deadline, other.RetryAt)

	_, err = b.Save(t.Context(), saveRequest(first.Connection, "2"))
	require.NoError(t, err)
	late := b.claim(t, c, lease, single)
	require.Equal(t, store.VerdictAlreadyFresh, late.Verdict)
	require.Equal(t, int64(2), late.Connection.Generation)
	require.True(t, b.row(t, c.ID).Open.IsZero())
}

func testClaimStatuses(t *testing.T, b *bundle) {
	for _, tt := range []struct {
		status  perennial.Status
		trigger perennial.Trigger
		want    store.Verdict
	}{
		{perennial.StatusActive, perennial.TriggerTimer, store.VerdictClaimed},
		{perennial.StatusPaused, perennial.TriggerTimer, store.VerdictRefused},
		{perennial.StatusPaused, perennial.TriggerRequest, store.VerdictRefused},
		{perennial.StatusPaused, perennial.TriggerKeepAlive, store.VerdictClaimed},
		{perennial.StatusReconnectRequired, perennial.TriggerKeepAlive, store.VerdictRefused},
		{perennial.StatusDisconnected, perennial.TriggerKeepAlive, store.VerdictRefused},
	} {
		c := b.connect(t)
		if tt.status != perennial.StatusActive {
			_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, tt.status, perennial.ReasonNone)
			require.NoError(t, err)
		}
		req := claimRequest(c, lease, single)
		req.Trigger = tt.trigger
		got, err := b.Claim(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, tt.want, got.Verdict, "%s by %s", tt.status, tt.trigger)
	}
}

func testClaimWaits(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := closeRequest(c, perennial.OutcomeRateLimited)
	req.Wait = time.Hour
	row, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	ask := claimRequest(row, lease, single)
	ask.Trigger = perennial.TriggerRequest
	got, err := b.Claim(t.Context(), ask)
	require.NoError(t, err)
	require.Equal(t, store.VerdictWait, got.Verdict, "a request does not shorten a wait")
	require.Equal(t, row.NextAttemptAt, got.RetryAt)

	c = b.claimed(t, b.connect(t), lease, single)
	req = closeRequest(c, perennial.OutcomeRevoked)
	req.Suspect, req.ConfirmAfter = true, time.Minute
	row, _, err = b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	got = b.claim(t, row, lease, single)
	require.Equal(t, store.VerdictWait, got.Verdict)
	require.Equal(t, row.ConfirmAt, got.RetryAt)

	c = b.claimed(t, b.connect(t), lease, single)
	req = closeRequest(c, perennial.OutcomeUnavailable)
	req.Wait = time.Microsecond
	row, _, err = b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	b.Until(t, row.NextAttemptAt)
	require.Equal(t, store.VerdictClaimed, b.claim(t, row, lease, single).Verdict, "the wait is over")
}

func testClaimLost(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), time.Microsecond, single)
	b.Until(t, c.Open.Deadline)
	next := b.claimed(t, c, time.Microsecond, single)
	require.True(t, next.Ambiguous())
	require.Equal(t, c.Open.StartedAt, next.AmbiguousSince, "since it may have been sent")
	require.Equal(t, []perennial.Outcome{perennial.OutcomeUnknown}, b.outcomes(t, c.ID))

	b.Until(t, next.Open.Deadline)
	third := b.claimed(t, next, lease, single)
	require.Equal(t, c.Open.StartedAt, third.AmbiguousSince, "the earliest stays")
	require.Len(t, b.outcomes(t, c.ID), 2)

	saved, err := b.Save(t.Context(), saveRequest(third, "2"))
	require.NoError(t, err)
	require.False(t, saved.Connection.Ambiguous())
	require.Zero(t, saved.Connection.AmbiguousSince)
}

func testClaimLostUnsent(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), time.Microsecond, revokes)
	b.Until(t, c.Open.Deadline)
	next := b.claimed(t, c, lease, revokes)
	require.False(t, next.Ambiguous(), "the sending mark was never written")
	require.Equal(t, []perennial.Outcome{perennial.OutcomeUnavailable}, b.outcomes(t, c.ID))

	// The request was sent, and its result is unknown: the valid access token is used
	// until it expires.
	require.NoError(t, b.MarkSending(t.Context(), c.ID, next.Open.ID))
	req := closeRequest(next, perennial.OutcomeUnknown)
	req.Ambiguous = true
	_, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	b.Exec(t, "UPDATE connections SET expires_at = '"+now.Add(time.Hour).Format("2006-01-02 15:04:05-07:00")+"'")
	got := b.claim(t, c, lease, revokes)
	require.Equal(t, store.VerdictWait, got.Verdict)
	require.Equal(t, now.Add(time.Hour).Truncate(time.Second), got.RetryAt)
	require.Equal(t, got.RetryAt, got.Connection.NextAttemptAt, "the row says so")
	b.Exec(t, "UPDATE connections SET next_attempt_at = NULL")
	require.Equal(t, store.VerdictClaimed, b.claim(t, c, lease, single).Verdict, "only that class waits")
}

func testRolledBack(t *testing.T, b *bundle) {
	c := b.connect(t)
	ahead := c
	ahead.Generation = 7 // what the workflow knew before the restore
	got := b.claim(t, ahead, lease, single)
	require.Equal(t, store.VerdictClaimed, got.Verdict)
	require.True(t, got.RolledBack)
	require.True(t, got.Connection.Ambiguous())
	require.Equal(t, got.Now, got.Connection.AmbiguousSince)

	req := saveRequest(got.Connection, "8")
	req.NewGeneration = 8 // no generation is used twice
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	require.True(t, saved.Stored)
	require.Equal(t, int64(8), saved.Connection.Generation)
	require.False(t, saved.Connection.Ambiguous())
}

func testClaimInvalid(t *testing.T, b *bundle) {
	c := b.connect(t)
	for _, spoil := range []func(*store.ClaimRequest){
		func(r *store.ClaimRequest) { r.AttemptID = "" },
		func(r *store.ClaimRequest) { r.Lease = 0 },
	} {
		req := claimRequest(c, lease, single)
		spoil(&req)
		_, err := b.Claim(t.Context(), req)
		requireCode(t, perennial.CodeInvalid, err)
	}
}

func testMarkSending(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, revokes)
	requireCode(t, perennial.CodeConflict, b.MarkSending(t.Context(), c.ID, uuid.NewString()))
	require.False(t, b.row(t, c.ID).Open.Sent)
	require.NoError(t, b.MarkSending(t.Context(), c.ID, c.Open.ID))
	require.True(t, b.row(t, c.ID).Open.Sent)

	c = b.claimed(t, b.connect(t), time.Microsecond, revokes)
	b.Until(t, c.Open.Deadline)
	requireCode(t, perennial.CodeConflict, b.MarkSending(t.Context(), c.ID, c.Open.ID))
	require.False(t, b.row(t, c.ID).Open.Sent)
}

func testAttemptsAfter(t *testing.T, b *bundle) {
	c := b.connect(t)
	for range 5 {
		c = b.claimed(t, b.row(t, c.ID), lease, single)
		_, ok, err := b.CloseAttempt(t.Context(), closeRequest(c, perennial.OutcomeUnavailable))
		require.NoError(t, err)
		require.True(t, ok)
	}
	b.Exec(t, "UPDATE attempts SET started_at = '2020-01-02 03:04:05+00:00'") // all have one time, so the id decides
	all, err := b.Attempts(t.Context(), perennial.WorkerAccess(), c.ID, 100)
	require.NoError(t, err)
	require.Len(t, all, 5)
	var paged []perennial.Attempt
	var last perennial.Attempt
	for {
		page, err := b.AttemptsAfter(t.Context(), perennial.WorkerAccess(), c.ID, last.StartedAt, last.ID, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		last = page[len(page)-1]
	}
	require.Equal(t, all, paged)
}

// testClaimAfterGrace: a refresh token whose grace window is over waits for the access
// token's end if a replay would end the grant, also if nobody was there to say so.
func testClaimAfterGrace(t *testing.T, b *bundle) {
	const window = time.Hour
	for name, c := range map[string]struct {
		ago   time.Duration
		after perennial.ReplayClass
		want  store.Verdict
	}{
		"within":         {window - time.Minute, perennial.ReplayReuseRevokes, store.VerdictClaimed},
		"after, revokes": {window + time.Minute, perennial.ReplayReuseRevokes, store.VerdictWait},
		"after, refuses": {window + time.Minute, perennial.ReplaySingleUse, store.VerdictClaimed},
	} {
		con := b.connect(t)
		b.claimed(t, con, lease, perennial.ReplayGrace)
		now, err := b.Now(t.Context())
		require.NoError(t, err)
		end := now.Add(time.Hour).Truncate(time.Second)
		b.set(t, con.ID, "expires_at", stampText(end))
		b.set(t, con.ID, "attempt_started_at", stampText(now.Add(-c.ago)))
		b.set(t, con.ID, "attempt_deadline", stampText(now.Add(-time.Second)))
		req := claimRequest(con, lease, perennial.ReplayGrace)
		req.GraceWindow, req.AfterGrace = window, c.after
		for range 2 { // the first finds the attempt lost
			got, err := b.Claim(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, c.want, got.Verdict, name)
			if c.want == store.VerdictWait {
				assert.True(t, got.RetryAt.Equal(end), "%s: %s", name, got.RetryAt)
			}
		}
	}

	back := b.connect(t)
	b.late(t, back, time.Minute, time.Hour)
	req := claimRequest(back, lease, perennial.ReplayGrace)
	req.Generation, req.GraceWindow, req.AfterGrace = back.Generation+3, window, perennial.ReplayReuseRevokes
	got, err := b.Claim(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, store.VerdictWait, got.Verdict, "nobody knows when a restored token was first sent")
}
