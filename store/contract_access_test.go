package store_test

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// testAccess: every method that an actor reaches finds, lists and changes only what the
// access reaches; anything else is not found, as if it did not exist.
func testAccess(t *testing.T, b *bundle) {
	c := b.connect(t) // of acme, app hubspot
	acme := accesstest.Of(t, "acme")
	for name, access := range map[string]perennial.Access{
		"nothing":        {},
		"another tenant": accesstest.Of(t, "other"),
		"narrowed away":  narrowed(t, accesstest.Of(t, "other"), "acme"),
		"another app":    acme.OnApps("books"),
		"no app":         acme.OnApps(),
	} {
		requireOutOfReach(t, b, c, name, access)
	}
	again, _, err := b.Get(t.Context(), acme, c.ID)
	require.NoError(t, err)
	require.Equal(t, c, again, "nothing has changed")
	for name, access := range map[string]perennial.Access{"its tenant": acme, "its app": acme.OnApps("hubspot"), "narrowed": narrowed(t, perennial.WorkerAccess(), "acme")} {
		requireInReach(t, b, c, name, access)
	}
}

func narrowed(t *testing.T, a perennial.Access, tenant string) perennial.Access {
	a, err := a.InTenant(tenant)
	require.NoError(t, err)
	return a
}

// requireOutOfReach calls every method that takes an access.
func requireOutOfReach(t *testing.T, b *bundle, c perennial.Connection, name string, access perennial.Access) {
	t.Helper()
	ctx := t.Context()
	get := func(_ perennial.Connection, _ time.Time, err error) error { return err }
	only := func(_ perennial.Connection, err error) error { return err }
	for method, err := range map[string]error{
		"Get":            get(b.Get(ctx, access, c.ID)),
		"SetCadence":     only(b.SetCadence(ctx, access, c.ID, perennial.CadenceOnUse)),
		"SetStatus":      only(b.SetStatus(ctx, access, c.ID, perennial.Statuses, c.Generation, perennial.StatusPaused, "")),
		"ReplaceTokens":  only(b.ReplaceTokens(ctx, access, c.ID, "", c.Generation, tokens(c.Generation+1, "stolen"))),
		"EndBackoff":     only(b.EndBackoff(ctx, access, c.ID)),
		"GiveUpSetAside": only(b.GiveUpSetAside(ctx, access, c.ID)),
		"Insert":         only(b.Insert(ctx, access, perennial.Connection{ID: "new", TenantID: c.TenantID, App: c.App, AccountID: "new"}, tokens(1, "new"))),
	} {
		require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "%s: %s", name, method)
	}
	// These need one tenant, and say so to an access that reaches none.
	for method, err := range map[string]error{
		"ForTokenRead":  get(b.ForTokenRead(ctx, access, c.ID)),
		"FindByAccount": only(b.FindByAccount(ctx, access, c.App, c.AccountID)),
	} {
		require.Contains(t, []perennial.Code{perennial.CodeNotFound, perennial.CodeInvalid}, perennial.CodeOf(err), "%s: %s", name, method)
	}
	all, err := b.List(ctx, access, store.Filter{})
	require.NoError(t, err)
	require.Empty(t, all, name)
	for _, f := range []store.Filter{{}, {Status: perennial.StatusActive}, {Health: perennial.HealthHealthy}, {App: c.App}, {AccountID: c.AccountID}} {
		n, err := b.Count(ctx, access, f)
		require.NoError(t, err)
		require.Zero(t, n, name)
	}
	attempts, err := b.Attempts(ctx, access, c.ID, 10)
	require.NoError(t, err)
	require.Empty(t, attempts, name)
	require.NoError(t, b.TouchUsed(ctx, access, c.ID))
	require.NoError(t, b.TouchUnauthorized(ctx, access, c.ID))
	since, err := b.ReconnectSince(ctx, access, c)
	require.NoError(t, err)
	require.Equal(t, c.UpdatedAt, since, name)
}

func requireInReach(t *testing.T, b *bundle, c perennial.Connection, name string, access perennial.Access) {
	t.Helper()
	ctx := t.Context()
	_, _, err := b.Get(ctx, access, c.ID)
	require.NoError(t, err, name)
	read, _, err := b.ForTokenRead(ctx, access, c.ID)
	require.NoError(t, err, name)
	require.Equal(t, "acme", read.TenantID)
	_, err = b.FindByAccount(ctx, access, c.App, c.AccountID)
	require.NoError(t, err, name)
	for _, f := range []store.Filter{{}, {Status: perennial.StatusActive}, {AccountID: c.AccountID}} {
		n, err := b.Count(ctx, access, f)
		require.NoError(t, err)
		require.EqualValues(t, 1, n, name)
	}
	_, err = b.SetCadence(ctx, access, c.ID, perennial.CadenceOnUse)
	require.NoError(t, err, name)
}
