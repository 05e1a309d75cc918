package api_test

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestApps: the API shows an app's trouble, but nothing of other tenants: not how many
// connections were refused, nor which one is tried first.
func TestApps(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	theirs := w.Connect("other")
	require.NoError(t, w.Store.RaiseRefusalHold(t.Context(), apitest.App, "17 of 30 connections were refused"))
	w.Exec("INSERT INTO circuits (app, host, reason, code, opened_at, last_canary, connections, updated_at) VALUES ('crm', 'api.hubapi.com', 'misconfigured', 'invalid_client', now(), '" + theirs.ID + "', 30, now())")
	answer := w.Do(key, "GET", "/v1/apps/"+apitest.App, "")
	app := read[api.App](t, answer)
	assert.True(t, app.RefusalHold)
	assert.NotZero(t, app.HoldRaisedAt)
	require.Len(t, app.Circuits, 1)
	assert.True(t, app.Circuits[0].Open)
	assert.Equal(t, "invalid_client", app.Circuits[0].Code)
	for _, hidden := range []string{theirs.ID, "refused", "connections", "client of"} {
		assert.NotContains(t, answer.Body.String(), hidden)
	}
	other := read[api.App](t, w.Do(key, "GET", "/v1/apps/"+apitest.Revocable, ""))
	assert.False(t, other.RefusalHold)
	assert.Empty(t, other.Circuits)
}

// TestHostsOfOthers: where each account has its own host, that names the customer: a tenant
// sees the circuits of its own hosts only.
func TestHostsOfOthers(t *testing.T) {
	t.Parallel()
	entry, ok := provider.Lookup("shopify")
	require.True(t, ok)
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Apps = append(c.Apps, provider.App{Name: "shop", Provider: entry}) })
	w.Apps = append(w.Apps, provider.App{Name: "shop", Provider: entry})
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	for tenant, host := range map[string]string{"acme": "acme.myshopify.com", "other": "planted.myshopify.com"} {
		c := w.ConnectTo("shop", tenant)
		w.Exec("UPDATE connections SET host = '" + host + "' WHERE id = '" + c.ID + "'")
		w.Exec("INSERT INTO circuits (app, host, reason, code, opened_at, last_canary, connections, updated_at) VALUES ('shop', '" + host + "', 'unavailable', 'timeout', now(), '', 1, now())")
	}
	for _, path := range []string{"/v1/apps/shop", "/v1/apps"} {
		answer := w.Do(key, "GET", path, "").Body.String()
		assert.Contains(t, answer, "acme.myshopify.com")
		assert.NotContains(t, answer, "planted")
	}
}
