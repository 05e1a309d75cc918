package store_test

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/stretchr/testify/require"
)

// testForUse: the short read agrees with the whole one, and reads only the tenant's own
// connections.
func testForUse(t *testing.T, b *bundle) {
	c := b.connect(t)
	w := tokens(2, "2")
	w.TokenType = "bearer"
	before, err := b.Now(t.Context())
	require.NoError(t, err)
	w.ExpiresAt, w.NextRefreshAt = before.Add(lease), before.Add(lease/2)
	c, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, w)
	require.NoError(t, err)
	require.NoError(t, b.TouchUsed(t.Context(), perennial.WorkerAccess(), c.ID))
	c = b.claimed(t, b.row(t, c.ID), lease, single)
	req := closeRequest(c, perennial.OutcomeRevoked)
	req.Wait, req.Suspect, req.ConfirmAfter, req.FailingAfter, req.FailingCode, req.Failed = lease, true, lease, 1, "code", true
	c, ok, err := b.CloseAttempt(t.Context(), req)
	require.NoError(t, err)
	require.True(t, ok)

	got, now, err := b.ForTokenRead(t.Context(), accesstest.Of(t, c.TenantID), c.ID)
	require.NoError(t, err)
	require.False(t, now.Before(before))
	require.Empty(t, got.RefreshTokenSealed)
	require.Equal(t, perennial.Connection{ID: c.ID, TenantID: c.TenantID, App: c.App, Provider: c.Provider, Host: c.Host, AccountID: c.AccountID,
		Status: c.Status, Reason: c.Reason, Health: c.Health, FailingCode: c.FailingCode, Generation: c.Generation, AccessTokenSealed: c.AccessTokenSealed,
		TokenType: c.TokenType, ExpiresAt: c.ExpiresAt, NextRefreshAt: c.NextRefreshAt, NextAttemptAt: c.NextAttemptAt, ConfirmAt: c.ConfirmAt,
		LastRefreshedAt: c.LastRefreshedAt, LastUsedAt: c.LastUsedAt, UpdatedAt: c.UpdatedAt}, got)
	require.NotZero(t, got.ConfirmAt)
	require.NotZero(t, got.LastUsedAt)

	_, _, err = b.ForTokenRead(t.Context(), accesstest.Of(t, "another tenant"), c.ID)
	requireCode(t, perennial.CodeNotFound, err)
	_, _, missing := b.ForTokenRead(t.Context(), accesstest.Of(t, c.TenantID), "nothing")
	requireCode(t, perennial.CodeNotFound, missing)
}

func testTouchUnauthorized(t *testing.T, b *bundle) {
	c := b.connect(t)
	require.NoError(t, b.TouchUnauthorized(t.Context(), perennial.WorkerAccess(), c.ID))
	first := b.row(t, c.ID).LastUnauthorizedAt
	require.NotZero(t, first)
	b.Exec(t, "UPDATE connections SET last_unauthorized_at = '2199-01-02 03:04:05+00:00'")
	require.NoError(t, b.TouchUnauthorized(t.Context(), perennial.WorkerAccess(), c.ID))
	require.Equal(t, 2199, b.row(t, c.ID).LastUnauthorizedAt.Year(), "within a second of the last nothing is written")
	b.Exec(t, "UPDATE connections SET last_unauthorized_at = '2020-01-02 03:04:05+00:00'")
	require.NoError(t, b.TouchUnauthorized(t.Context(), perennial.WorkerAccess(), c.ID))
	require.False(t, b.row(t, c.ID).LastUnauthorizedAt.Before(first))
	require.NoError(t, b.TouchUnauthorized(t.Context(), perennial.WorkerAccess(), "nothing"))
}

// testReconnectSince: the time comes from the event, and from the row if the event is
// deleted.
func testReconnectSince(t *testing.T, b *bundle) {
	c := b.connect(t)
	c, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	events, err := b.Events(t.Context(), c.ID, 1)
	require.NoError(t, err)
	since, err := b.ReconnectSince(t.Context(), perennial.WorkerAccess(), c)
	require.NoError(t, err)
	require.Equal(t, events[0].CreatedAt, since)
	b.Exec(t, "DELETE FROM outbox")
	since, err = b.ReconnectSince(t.Context(), perennial.WorkerAccess(), c)
	require.NoError(t, err)
	require.Equal(t, c.UpdatedAt, since)
}
