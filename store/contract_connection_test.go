package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

func testRoundTrip(t *testing.T, b *bundle) {
	at := time.Date(2031, 2, 3, 4, 5, 6, 789_123_456, time.FixedZone("", 3600))
	w := tokens(3, "3")
	w.TokenType, w.Scopes, w.Metadata = "bearer", []string{"crm.read", "crm.write"}, map[string]string{"instance": "https://eu.example/?a=\"b\""}
	w.ExpiresAt, w.RefreshTokenExpiresAt, w.GrantExpiresAt, w.NextRefreshAt = at, at.Add(1), at.Add(2), at.Add(-time.Hour)
	w.Status, w.Reason, w.FailingCode = perennial.StatusReconnectRequired, perennial.ReasonScopesMissing, "no_lifetime"
	in := perennial.Connection{ID: uuid.NewString(), TenantID: "acme", App: "qbo-sandbox", Provider: "quickbooks", Host: "oauth.example", AccountID: "realm-1"}
	c, err := b.Insert(t.Context(), perennial.WorkerAccess(), in, w)
	require.NoError(t, err)
	stored, now, err := b.Get(t.Context(), perennial.WorkerAccess(), in.ID)
	require.NoError(t, err)
	require.Equal(t, c, stored)
	require.False(t, now.Before(c.CreatedAt))

	micro := at.UTC().Truncate(time.Microsecond)
	want := in
	want.Cadence = perennial.CadenceAlways
	want.Status, want.Reason, want.Health, want.FailingCode = w.Status, w.Reason, perennial.HealthFailing, "no_lifetime"
	want.FailingSince, want.LastRefreshedAt, want.CreatedAt, want.UpdatedAt = c.CreatedAt, c.CreatedAt, c.CreatedAt, c.CreatedAt
	want.Generation, want.AccessTokenSealed, want.RefreshTokenSealed = 3, w.AccessTokenSealed, w.RefreshTokenSealed
	want.RefreshTokenDigest, want.ClientIDDigest = digest("3"), "client"
	want.TokenType, want.Scopes, want.Metadata = w.TokenType, w.Scopes, w.Metadata
	want.ExpiresAt, want.RefreshTokenExpiresAt, want.GrantExpiresAt, want.NextRefreshAt = micro, micro, micro, micro.Add(-time.Hour)
	want.IdleWarning.For, want.GrantWarning.For = want.RefreshTokenExpiresAt, want.GrantExpiresAt
	require.Equal(t, want, c, "UTC, microseconds, and null times are zero")
	require.NotZero(t, c.CreatedAt)
}

func testFindByAccount(t *testing.T, b *bundle) {
	_, err := b.FindByAccount(t.Context(), accesstest.Of(t, "acme"), "hubspot", "nobody")
	requireCode(t, perennial.CodeNotFound, err)

	var ids []string
	for range 2 {
		c, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: uuid.NewString(), TenantID: "acme", App: "hubspot", AccountID: "a"}, tokens(1, "1"))
		require.NoError(t, err)
		gone, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusDisconnected, perennial.ReasonNone)
		require.NoError(t, err)
		b.Until(t, gone.UpdatedAt)
		ids = append(ids, c.ID)
	}
	got, err := b.FindByAccount(t.Context(), accesstest.Of(t, "acme"), "hubspot", "a")
	require.NoError(t, err)
	require.Equal(t, ids[1], got.ID, "the most recently disconnected one")

	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), ids[0], perennial.StatusDisconnected, 1, tokens(2, "2"))
	require.NoError(t, err)
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), ids[1], perennial.StatusDisconnected, 1, tokens(2, "2"))
	requireCode(t, perennial.CodeConflict, err) // the account already has a connection
	got, err = b.FindByAccount(t.Context(), accesstest.Of(t, "acme"), "hubspot", "a")
	require.NoError(t, err)
	require.Equal(t, ids[0], got.ID, "the live one")
	_, err = b.FindByAccount(t.Context(), accesstest.Of(t, "other"), "hubspot", "a")
	requireCode(t, perennial.CodeNotFound, err)
}

func testOneLive(t *testing.T, b *bundle) {
	c := b.connect(t)
	again := perennial.Connection{ID: uuid.NewString(), TenantID: c.TenantID, App: c.App, AccountID: c.AccountID}
	_, err := b.Insert(t.Context(), perennial.WorkerAccess(), again, tokens(1, "x"))
	requireCode(t, perennial.CodeConflict, err)
	again.App = "hubspot-sandbox"
	_, err = b.Insert(t.Context(), perennial.WorkerAccess(), again, tokens(1, "x"))
	require.NoError(t, err, "an app includes its environment")
}

func testReplaceTokens(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	req := saveRequest(c, "2")
	at := c.Open.StartedAt.Add(time.Hour)
	req.ExpiresAt, req.RefreshTokenExpiresAt, req.GrantExpiresAt, req.NextRefreshAt = at, at, at, at
	saved, err := b.Save(t.Context(), req)
	require.NoError(t, err)
	c = b.claimed(t, saved.Connection, lease, single)
	doubt := closeRequest(c, perennial.OutcomeUnknown)
	doubt.Ambiguous, doubt.Suspect, doubt.Failed, doubt.FailingAfter, doubt.FailingCode = true, true, true, 1, "x"
	doubt.Terminal = perennial.ReasonRotationLost
	c, _, err = b.CloseAttempt(t.Context(), doubt)
	require.NoError(t, err)

	got, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, perennial.StatusReconnectRequired, 2, tokens(3, "3"))
	require.NoError(t, err)
	want := c
	w := tokens(3, "3")
	want.Status, want.Reason, want.Health, want.FailingCode, want.FailingSince = perennial.StatusActive, perennial.ReasonNone, perennial.HealthHealthy, "", time.Time{}
	want.Generation, want.AccessTokenSealed, want.RefreshTokenSealed, want.RefreshTokenDigest = 3, w.AccessTokenSealed, w.RefreshTokenSealed, w.RefreshTokenDigest
	want.ExpiresAt, want.RefreshTokenExpiresAt, want.GrantExpiresAt, want.NextRefreshAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	want.AmbiguousSince, want.AmbiguousDigest, want.SuspectSince, want.SuspectDigest, want.ConfirmAt = time.Time{}, "", time.Time{}, "", time.Time{}
	want.FailureCount, want.LastRefreshedAt, want.UpdatedAt = 0, got.LastRefreshedAt, got.UpdatedAt
	require.Equal(t, want, got, "every clock and doubt of the old grant is gone")
	require.Equal(t, int64(1), got.RefreshCount, "a reconnect is not a refresh")
}

func testReplaceGuards(t *testing.T, b *bundle) {
	c := b.connect(t)
	for name, do := range map[string]func() error{
		"another generation": func() error {
			_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 2, tokens(3, "3"))
			return err
		},
		"another status": func() error {
			_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, perennial.StatusPaused, 1, tokens(2, "2"))
			return err
		},
	} {
		requireCode(t, perennial.CodeConflict, do())
		require.Equal(t, c, b.row(t, c.ID), name)
	}
	_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(1, "again"))
	requireCode(t, perennial.CodeInvalid, err)
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(9, "9"))
	require.NoError(t, err, "any status, and numbers may be skipped")
}

func testSetStatus(t *testing.T, b *bundle) {
	c := b.claimed(t, b.connect(t), lease, single)
	active := []perennial.Status{perennial.StatusActive}
	for _, generation := range []int64{0, 2} {
		_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, active, generation, perennial.StatusPaused, perennial.ReasonNone)
		requireCode(t, perennial.CodeConflict, err)
	}
	_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusPaused}, 1, perennial.StatusActive, perennial.ReasonNone)
	requireCode(t, perennial.CodeConflict, err)

	got, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, active, 1, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	require.Equal(t, perennial.ReasonOperator, got.Reason)
	require.Equal(t, c.Open, got.Open, "an attempt under way may still heal it")

	got, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusDisconnected, perennial.ReasonNone)
	require.NoError(t, err)
	require.Equal(t, perennial.StatusDisconnected, got.Status)
	require.Empty(t, got.AccessTokenSealed)
	require.Empty(t, got.RefreshTokenSealed)
	require.Empty(t, got.RefreshTokenDigest)
	require.True(t, got.Open.IsZero())
	require.Empty(t, got.Open.Digest)
	require.Equal(t, int64(1), got.Generation, "a later connect takes the next")
}

func testList(t *testing.T, b *bundle) {
	var ids []string
	for range 3 {
		ids = append(ids, b.connect(t).ID)
	}
	_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), ids[1], perennial.Statuses, 1, perennial.StatusPaused, perennial.ReasonNone)
	require.NoError(t, err)
	count := func(f store.Filter) int {
		got, err := b.List(t.Context(), perennial.WorkerAccess(), f)
		require.NoError(t, err)
		return len(got)
	}
	require.Equal(t, 3, count(store.Filter{}))
	require.Equal(t, 3, count(store.Filter{App: "hubspot", Provider: "hubspot", Limit: 5000}))
	require.Equal(t, 0, count(store.Filter{App: "other"}))
	require.Equal(t, 2, count(store.Filter{Status: perennial.StatusActive}))
	page, err := b.List(t.Context(), perennial.WorkerAccess(), store.Filter{Limit: 2})
	require.NoError(t, err)
	require.Len(t, page, 2)
	require.Less(t, page[0].ID, page[1].ID)
	require.Equal(t, 1, count(store.Filter{Limit: 2, After: page[1].ID}))
	require.Equal(t, 1, count(store.Filter{AccountID: page[0].AccountID}))
	require.Equal(t, 2, count(store.Filter{Health: perennial.HealthHealthy}), "a paused one is neither healthy nor failing")
	require.Equal(t, 0, count(store.Filter{Health: perennial.HealthHealthy, Status: perennial.StatusPaused}))
	require.Equal(t, 0, count(store.Filter{Health: perennial.HealthFailing}))
	for want, f := range map[int64]store.Filter{3: {Limit: 1}, 2: {Status: perennial.StatusActive, Limit: 1}, 1: {After: page[1].ID}, 0: {App: "other"}} {
		total, err := b.Count(t.Context(), perennial.WorkerAccess(), f)
		require.NoError(t, err)
		require.Equal(t, want, total)
	}

	counts, err := b.Counts(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[perennial.Status]int64{"active": 2, "paused": 1, "reconnect_required": 0, "disconnected": 0}, counts)
}

func testTouchUsed(t *testing.T, b *bundle) {
	c := b.connect(t)
	require.NoError(t, b.TouchUsed(t.Context(), perennial.WorkerAccess(), c.ID))
	first := b.row(t, c.ID).LastUsedAt
	require.NotZero(t, first)
	b.Until(t, first)
	require.NoError(t, b.TouchUsed(t.Context(), perennial.WorkerAccess(), c.ID))
	require.Equal(t, first, b.row(t, c.ID).LastUsedAt, "within the hour nothing is written")
	b.Exec(t, "UPDATE connections SET last_used_at = '2020-01-02 03:04:05+00:00'")
	require.NoError(t, b.TouchUsed(t.Context(), perennial.WorkerAccess(), c.ID))
	require.False(t, b.row(t, c.ID).LastUsedAt.Before(first))
	require.NoError(t, b.TouchUsed(t.Context(), perennial.WorkerAccess(), "nothing"))
}

func testMissing(t *testing.T, b *bundle) {
	c := perennial.Connection{ID: "nothing", Generation: 1, RefreshTokenDigest: "d", Open: perennial.OpenAttempt{ID: "a"}}
	require.Equal(t, store.VerdictNotFound, b.claim(t, c, lease, single).Verdict)
	_, _, err := b.Get(t.Context(), perennial.WorkerAccess(), c.ID)
	requireCode(t, perennial.CodeNotFound, err)
	_, err = b.Save(t.Context(), saveRequest(c, "2"))
	requireCode(t, perennial.CodeNotFound, err)
	_, _, err = b.CloseAttempt(t.Context(), closeRequest(c, perennial.OutcomeUnknown))
	requireCode(t, perennial.CodeNotFound, err)
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusPaused, "")
	requireCode(t, perennial.CodeNotFound, err)
	_, err = b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, tokens(2, "2"))
	requireCode(t, perennial.CodeNotFound, err)
	requireCode(t, perennial.CodeNotFound, b.MarkSending(t.Context(), c.ID, "a"))
}

func testErrorsCarryNoValues(t *testing.T, b *bundle) {
	const planted = "planted-token-value"
	c := b.connect(t)
	w := tokens(2, "2")
	w.AccessTokenSealed, w.RefreshTokenSealed, w.RefreshTokenDigest = []byte(planted), []byte(planted), planted
	w.Status = "no such status" // refused by the database
	_, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, w)
	require.Error(t, err)
	require.NotContains(t, err.Error(), planted)
	require.Contains(t, err.Error(), c.ID)

	w.Status, w.TokenType = perennial.StatusActive, planted+"\x00" // PostgreSQL stores no NUL byte
	if _, err := b.ReplaceTokens(t.Context(), perennial.WorkerAccess(), c.ID, "", 1, w); err != nil {
		require.NotContains(t, err.Error(), planted)
	} else {
		require.True(t, strings.HasPrefix(b.URL, "sqlite:"))
	}
}

func testNewerColumn(t *testing.T, b *bundle) {
	c := b.connect(t)
	for range 10 { // until every statement is prepared
		b.row(t, c.ID)
	}
	b.Exec(t, "ALTER TABLE connections ADD COLUMN newer text NOT NULL DEFAULT 'x'")
	require.Equal(t, c, b.row(t, c.ID))
	c = b.claimed(t, c, lease, single)
	saved, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	require.True(t, saved.Stored)
}

func testCadence(t *testing.T, b *bundle) {
	c := b.connect(t)
	require.Equal(t, perennial.CadenceAlways, c.Cadence)
	got, err := b.SetCadence(t.Context(), perennial.WorkerAccess(), c.ID, perennial.CadenceOnUse)
	require.NoError(t, err)
	require.Equal(t, perennial.CadenceOnUse, got.Cadence)
	require.Equal(t, got, b.row(t, c.ID))
	_, err = b.SetCadence(t.Context(), perennial.WorkerAccess(), c.ID, "sometimes")
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	_, err = b.SetCadence(t.Context(), perennial.WorkerAccess(), "nobody", perennial.CadenceOnUse)
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
}

func testAccountInUse(t *testing.T, b *bundle) {
	c := b.connect(t)
	used := func(app, account string) bool {
		out, err := b.AccountInUse(t.Context(), app, account)
		require.NoError(t, err)
		return out
	}
	require.True(t, used(c.App, c.AccountID))
	require.False(t, used(c.App, "another"))
	require.False(t, used("another", c.AccountID))
	_, err := b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusPaused, "")
	require.NoError(t, err)
	require.True(t, used(c.App, c.AccountID))
	_, err = b.SetStatus(t.Context(), perennial.WorkerAccess(), c.ID, []perennial.Status{perennial.StatusPaused}, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	require.False(t, used(c.App, c.AccountID))
}
