package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// caller is one kind of actor.
type caller struct {
	name, key string
	tenant    string // of the header; empty: none
	valid     bool   // the key works
}

func (c caller) headers() []string {
	if c.tenant == "" {
		return nil
	}
	return []string{"Perennial-Tenant", c.tenant}
}

// makeKey stores a key as change makes it.
func makeKey(t *testing.T, w *apitest.World, tenant string, change func(*perennial.APIKey), scopes ...perennial.Scope) string {
	t.Helper()
	k, whole := api.NewKey(tenant, t.Name(), scopes...)
	change(&k)
	_, err := w.Keys.Add(t.Context(), perennial.CommandLineAccess(), k)
	require.NoError(t, err)
	return whole.Reveal()
}

func everyTenant(k *perennial.APIKey) { k.EveryTenant = true }

func callers(t *testing.T, w *apitest.World) []caller {
	plain := func(*perennial.APIKey) {}
	product := makeKey(t, w, "", everyTenant, perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	admin := makeKey(t, w, "", everyTenant, perennial.ScopeAdmin)
	return []caller{
		{"nobody", "", "", false},
		{"nobody, of a tenant", "", "other", false},
		{"a made-up key", strings.Repeat("x", 84), "other", false},
		{"a tenant's admin", makeKey(t, w, "acme", plain, perennial.ScopeAdmin), "", true},
		{"a tenant's reader", makeKey(t, w, "acme", plain, perennial.ScopeTokensRead), "", true},
		{"a tenant's key, named", makeKey(t, w, "acme", plain, perennial.ScopeAdmin), "acme", true},
		{"a tenant's key for another", makeKey(t, w, "acme", plain, perennial.ScopeAdmin), "other", true},
		{"a tenant's key of one app", makeKey(t, w, "acme", func(k *perennial.APIKey) { k.Apps = []string{apitest.Revocable} }, perennial.ScopeAdmin), "", true},
		{"an expired key", makeKey(t, w, "acme", func(k *perennial.APIKey) { k.ExpiresAt = time.Now().Add(-time.Minute) }, perennial.ScopeAdmin), "", false},
		{"the product without a tenant", product, "", true},
		{"the product for a tenant", product, "acme", true},
		{"the product for a made-up tenant", product, "nobody's", true},
		{"the product's admin for a tenant", admin, "acme", true},
		{"a product's key of one app", makeKey(t, w, "", func(k *perennial.APIKey) { k.EveryTenant, k.Apps = true, []string{apitest.Revocable} }, perennial.ScopeAdmin), "acme", true},
	}
}

// foreign has ids that no caller of these tests reaches, by what the path is about.
type foreign struct{ theirs, madeUp map[string]string }

func (f foreign) kind(path string) string {
	for kind := range f.theirs {
		if strings.HasPrefix(path, kind) {
			return kind
		}
	}
	return ""
}

// plant gives another tenant one of everything, with words that no answer may hold.
func plant(t *testing.T, w *apitest.World) foreign {
	theirs := w.Connect("other")
	hook, err := w.Webhooks.AddEndpoint(t.Context(), perennial.CommandLineAccess(), perennial.WebhookEndpoint{ID: "whe_theirs", TenantID: "other", URL: "https://planted.example/", SecretSealed: []byte("s")})
	require.NoError(t, err)
	session, err := w.Sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{Tenant: "other", App: apitest.App, TenantTitle: "planted title"})
	require.NoError(t, err)
	return foreign{
		theirs: map[string]string{"/v1/connections/{id}": theirs.ID, "/v1/webhooks/{id}": hook.ID, "/v1/connect-sessions/{id}": session.ID},
		madeUp: map[string]string{"/v1/connections/{id}": "con_none", "/v1/webhooks/{id}": "whe_none", "/v1/connect-sessions/{id}": "cs_none"},
	}
}

// TestIsolation: whoever calls whichever operation with an id that is not his, gets the
// answer that a made-up id has: it is no server error, holds nothing of the other tenant,
// and changes nothing.
func TestIsolation(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	f := plant(t, w)
	before := w.Row(f.theirs["/v1/connections/{id}"])
	all := operations(t, w)
	for _, by := range callers(t, w) {
		for _, d := range all {
			name := by.name + ": " + d.id
			if !by.valid {
				require.Equal(t, http.StatusUnauthorized, w.Do(by.key, d.method, d.at("con_none"), d.valid(), by.headers()...).Code, name)
			}
			about := f.kind(d.path)
			if about == "" {
				requireNothingOf(t, name, before, w.Do(by.key, d.method, d.at(""), d.valid(), by.headers()...).Body.String())
				continue
			}
			theirs := w.Do(by.key, d.method, d.at(f.theirs[about]), d.valid(), by.headers()...)
			madeUp := w.Do(by.key, d.method, d.at(f.madeUp[about]), d.valid(), by.headers()...)
			require.Less(t, theirs.Code, 500, name)
			require.GreaterOrEqual(t, theirs.Code, 400, name)
			require.Equal(t, madeUp.Code, theirs.Code, name)
			a, b := problemIn(t, theirs), problemIn(t, madeUp)
			a.RequestID, b.RequestID = "", ""
			require.Equal(t, b, a, name)
			requireNothingOf(t, name, before, theirs.Body.String())
		}
	}
	require.Equal(t, before, w.Row(before.ID), "nothing has changed")
	hook, err := w.Webhooks.Endpoint(t.Context(), perennial.CommandLineAccess(), "whe_theirs")
	require.NoError(t, err)
	require.Zero(t, hook.DisabledAt)
	require.EqualValues(t, 1, hook.SecretVersion)
}

func requireNothingOf(t *testing.T, name string, c perennial.Connection, answer string) {
	t.Helper()
	for _, secret := range []string{c.ID, c.AccountID, "planted.example", "planted title", `"other"`} {
		require.NotContains(t, answer, secret, name)
	}
}

// TestOwnApps: a key of some apps reaches nothing of its own tenant's other apps.
func TestOwnApps(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	crm, books := w.ConnectTo(apitest.App, "acme"), w.ConnectTo(apitest.Revocable, "acme")
	key := makeKey(t, w, "acme", func(k *perennial.APIKey) { k.Apps = []string{apitest.Revocable} }, perennial.ScopeAdmin)
	for _, d := range operations(t, w) {
		if !strings.HasPrefix(d.path, "/v1/connections/{id}") {
			continue
		}
		require.Equal(t, http.StatusNotFound, w.Do(key, d.method, d.at(crm.ID), d.valid()).Code, d.id)
	}
	require.Equal(t, crm, w.Row(crm.ID))
	assert.Equal(t, http.StatusOK, w.Do(key, "GET", "/v1/connections/"+books.ID+"/token", "").Code)
	list := w.Do(key, "GET", "/v1/connections", "").Body.String()
	assert.Contains(t, list, books.ID)
	assert.NotContains(t, list, crm.ID)
	assert.Equal(t, http.StatusNotFound, w.Do(key, "GET", "/v1/apps/"+apitest.App, "").Code)
	assert.NotContains(t, w.Do(key, "GET", "/v1/apps", "").Body.String(), `"`+apitest.App+`"`)
	assert.Equal(t, http.StatusForbidden, w.Do(key, "POST", "/v1/webhooks", `{"url": "https://192.0.2.1/hook"}`).Code, "it would receive the events of all apps")
	missing := w.Do(key, "POST", "/v1/connections", grant("nothing", "1", "one"))
	refused := w.Do(key, "POST", "/v1/connections", grant(apitest.App, "1", "one"))
	assert.Equal(t, missing.Code, refused.Code)
}

// TestProductKey: a key of every tenant acts for the tenant that each request names, and
// for none that it does not name.
func TestProductKey(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	acme, other := w.Connect("acme"), w.Connect("other")
	key := makeKey(t, w, "", everyTenant, perennial.ScopeTokensRead, perennial.ScopeConnectionsWrite)
	lister := makeKey(t, w, "", everyTenant, perennial.ScopeTenantsRead)
	get := func(key, path string, headers ...string) (int, string) {
		answer := w.Do(key, "GET", path, "", headers...)
		return answer.Code, answer.Body.String()
	}
	token := func(c perennial.Connection) string { return "/v1/connections/" + c.ID + "/token" }

	status, _ := get(key, token(acme), "Perennial-Tenant", "acme")
	assert.Equal(t, http.StatusOK, status)
	status, _ = get(key, token(other), "Perennial-Tenant", "acme")
	assert.Equal(t, http.StatusNotFound, status)
	for _, headers := range [][]string{nil, {"Perennial-Tenant", ""}, {"Perennial-Tenant", "a\u200bb"}, {"Perennial-Tenant", strings.Repeat("a", 256)}} {
		status, body := get(key, token(acme), headers...)
		assert.Equal(t, http.StatusBadRequest, status, headers)
		assert.Contains(t, body, "header.Perennial-Tenant")
		status, body = get(key, "/v1/connections", headers...)
		assert.Equal(t, http.StatusBadRequest, status, headers)
		assert.NotContains(t, body, acme.ID)
	}
	_, body := get(key, "/v1/connections", "Perennial-Tenant", "acme")
	assert.Contains(t, body, acme.ID)
	assert.NotContains(t, body, other.ID)
	_, body = get(lister, "/v1/connections")
	assert.Contains(t, body, acme.ID)
	assert.Contains(t, body, other.ID)
	assert.Contains(t, body, `"tenant_id":"other"`)
	status, _ = get(lister, token(acme))
	assert.Equal(t, http.StatusForbidden, status, "it may list, no more")
	status, _ = get(key, "/v1/version")
	assert.Equal(t, http.StatusOK, status, "it shows nothing of any tenant")

	answer := w.Do(key, "POST", "/v1/connections", grant(apitest.App, "62515", "one"), "Perennial-Tenant", "acme")
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	assert.Equal(t, "acme", w.Row(read[api.Connection](t, answer).ID).TenantID)
}

// TestIdempotencyByTenant: two tenants' requests with the same Idempotency-Key of one
// product are two requests: neither has the other's answer.
func TestIdempotencyByTenant(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	key := makeKey(t, w, "", everyTenant, perennial.ScopeConnectionsWrite)
	made := map[string]string{}
	for _, tenant := range []string{"acme", "other"} {
		answer := w.Do(key, "POST", "/v1/connections", grant(apitest.App, "62515", "one of "+tenant), "Perennial-Tenant", tenant, "Idempotency-Key", "a")
		require.Equal(t, http.StatusOK, answer.Code, fmt.Sprint(tenant, answer.Body))
		made[tenant] = read[api.Connection](t, answer).ID
		assert.Equal(t, tenant, w.Row(made[tenant]).TenantID)
		again := w.Do(key, "POST", "/v1/connections", grant(apitest.App, "62515", "one of "+tenant), "Perennial-Tenant", tenant, "Idempotency-Key", "a")
		assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	}
	assert.NotEqual(t, made["acme"], made["other"])
}
