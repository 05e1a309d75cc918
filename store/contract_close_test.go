package store_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func testClose(t *testing.T, b *bundle) {
	c := b.connect(t)
	for n := 1; n <= 3; n++ {
		c = b.claimed(t, c, lease, single)
		req := closeRequest(c, perennial.OutcomeUnavailable)
		req.Failed, req.FailingAfter, req.FailingCode = true, 2, "http_503"
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		require.Equal(t, n, row.FailureCount)
		require.True(t, row.Open.IsZero())
		require.Zero(t, row.NextAttemptAt, "no wait was asked for")
		require.Equal(t, n >= 2, row.Health == perennial.HealthFailing, "failing from the second failure")
		if n == 3 {
			require.Equal(t, c.FailingSince, row.FailingSince, "the first time stays")
		}
		require.Equal(t, digest("1"), row.RefreshTokenDigest, "the tokens stay")
		c = row
	}
	require.Len(t, b.outcomes(t, c.ID), 3)

	c = b.claimed(t, c, lease, single)
	req := closeRequest(c, perennial.OutcomeRateLimited)
	req.Wait = time.Hour
	row, _, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, 3, row.FailureCount, "not a failure of the connection")
	require.Equal(t, row.UpdatedAt.Add(time.Hour), row.NextAttemptAt, "counted from the database's now")
}

func testCloseAmbiguous(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	since := c.Open.StartedAt
	for range 2 {
		req := closeRequest(c, perennial.OutcomeUnknown)
		req.Ambiguous = true
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.True(t, closed)
		require.True(t, row.Ambiguous())
		require.Equal(t, since, row.AmbiguousSince)
		b.Until(t, row.UpdatedAt)
		c = b.claimed(t, row, lease, single)
	}
	row, _, err := b.CloseAttempt(t.Context(), closeRequest(c, perennial.OutcomeUnavailable))
	require.NoError(t, err)
	require.True(t, row.Ambiguous(), "an attempt that was never sent does not clear the doubt")
}

func testCloseSuspect(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := closeRequest(c, perennial.OutcomeRevoked)
	req.Suspect, req.ConfirmAfter = true, time.Microsecond
	row, _, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, row.Suspect())
	require.Equal(t, row.UpdatedAt.Add(time.Microsecond), row.ConfirmAt)
	require.Equal(t, perennial.StatusActive, row.Status)

	b.Until(t, row.ConfirmAt)
	c = b.claimed(t, row, lease, single)
	req = closeRequest(c, perennial.OutcomeRevoked)
	req.Terminal = perennial.ReasonInvalidGrant
	row, _, err = b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, perennial.StatusReconnectRequired, row.Status)
	require.Equal(t, perennial.ReasonInvalidGrant, row.Reason)
	require.Zero(t, row.ConfirmAt)
	require.Equal(t, "sealed access 1", string(row.AccessTokenSealed), "what is left of it is served")
}

func testCloseGuards(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	for name, spoil := range map[string]func(*store.CloseRequest){
		"another attempt":    func(r *store.CloseRequest) { r.AttemptID = uuid.NewString() },
		"another generation": func(r *store.CloseRequest) { r.Generation++ },
		"another token":      func(r *store.CloseRequest) { r.Digest = digest("other") },
	} {
		req := closeRequest(c, perennial.OutcomeRevoked)
		req.Terminal, req.Failed = perennial.ReasonInvalidGrant, true
		spoil(&req)
		row, closed, err := b.CloseAttempt(t.Context(), req)
		require.NoError(t, err)
		require.False(t, closed, name)
		require.Equal(t, c, row, name)
	}
	req := closeRequest(c, perennial.OutcomeRevoked)
	req.AttemptID = ""
	_, _, err := b.CloseAttempt(t.Context(), req)
	requireCode(t, perennial.CodeInvalid, err)

	// An operator's decision during the attempt stays.
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	req = closeRequest(c, perennial.OutcomeRevoked)
	req.Terminal = perennial.ReasonInvalidGrant
	row, closed, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, closed)
	require.Equal(t, perennial.ReasonOperator, row.Reason)
}
