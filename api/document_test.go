package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// described is one operation as the served document describes it. These tests have no
// other list.
type described struct {
	id, method, path string
	scopes           []perennial.Scope
	writes           bool
	body             bool
	success          string
}

func (d described) at(id string) string {
	return strings.NewReplacer("{id}", id, "{event_id}", "evt_none", "{app}", apitest.App).Replace(d.path)
}

// valid returns a body that the operation accepts.
func (d described) valid() string {
	const tokens = `{"access_token": "planted-access-token-x", "refresh_token": "planted-refresh-token-x", "expires_in": 1800}`
	switch d.id {
	case "createConnection":
		return `{"app": "` + apitest.App + `", "account_id": "62515", "tokens": ` + tokens + `}`
	case "replaceTokens":
		return `{"account_id": "62515", "tokens": ` + tokens + `}`
	case "createConnectSession":
		return `{"app": "` + apitest.App + `", "return_url": "https://app.example/back"}`
	case "finishConnectSession":
		return `{"code": "fc_x", "verifier": "` + strings.Repeat("v", 43) + `"}`
	case "setCadence":
		return `{"cadence": "on_use"}`
	case "noteConnection":
		return `{"note": "used"}`
	case "reportRefused":
		return `{"generation": 1, "why": "token_refused"}`
	case "createWebhook":
		return `{"url": "https://192.0.2.1/hook"}` // an address reserved for documentation: refused after all other checks
	case "rotateWebhookSecret":
		return `{}`
	}
	return ""
}

func operations(t testing.TB, w *apitest.World) []described {
	t.Helper()
	answer := w.Do("", http.MethodGet, api.DocumentPath, "")
	require.Equal(t, http.StatusOK, answer.Code)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Security    []map[string][]perennial.Scope
			Parameters  []struct{ Name, In string }
			RequestBody *struct{ Required bool }
			Responses   map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &doc))
	require.Equal(t, "3.1.0", doc.OpenAPI)
	var out []described
	for path, methods := range doc.Paths {
		for method, o := range methods {
			d := described{id: o.OperationID, method: strings.ToUpper(method), path: path, body: o.RequestBody != nil && o.RequestBody.Required}
			for _, s := range o.Security {
				for _, scopes := range s {
					d.scopes = append(d.scopes, scopes...)
				}
			}
			for _, p := range o.Parameters {
				d.writes = d.writes || p.Name == "Idempotency-Key"
			}
			for code := range o.Responses {
				if strings.HasPrefix(code, "2") {
					d.success = code
				}
			}
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b described) int { return strings.Compare(a.id, b.id) })
	return out
}

// TestEveryOperation: every operation of the document refuses a request without a key,
// with a wrong, revoked or too narrow key, and for another tenant's things. The problem
// names nothing.
func TestEveryOperation(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	all := operations(t, w)
	assert.Len(t, all, 26)
	own, theirs := w.Connect("acme"), w.Connect("other")
	admin, adminKey := w.Key("acme", perennial.ScopeAdmin)
	_, otherKey := w.Key("other", perennial.ScopeAdmin)
	revoked, revokedKey := w.Key("acme", perennial.ScopeAdmin)
	require.NoError(t, w.Keys.Revoke(t.Context(), perennial.CommandLineAccess(), revoked.ID))
	hook, err := w.Webhooks.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: "whe_theirs", TenantID: "other", URL: "https://planted-url.example/", SecretSealed: []byte("x")})
	require.NoError(t, err)
	nobodys, err := w.Webhooks.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: "whe_operators", URL: "https://planted-url.example/", SecretSealed: []byte("x")})
	require.NoError(t, err)
	theirLink, err := w.SessionRows.Add(t.Context(), perennial.ConnectSession{ID: "cs_theirs", TenantID: "other", App: apitest.App, Mode: perennial.ConnectPage, LinkDigest: "x", ReturnURL: "https://planted-url.example/"}, time.Hour)
	require.NoError(t, err)
	_, mightNot := w.Key("acme", "nothing:known")
	byScope := map[perennial.Scope]string{}
	for _, s := range perennial.Scopes {
		_, byScope[s] = w.Key("acme", s)
	}

	for _, o := range all {
		t.Run(o.id, func(t *testing.T) {
			refused := func(key string, status int, code perennial.Code, id string, says string) {
				t.Helper()
				answer := w.Do(key, o.method, o.at(id), o.valid())
				p := problemIn(t, answer)
				assert.Equal(t, status, answer.Code, "%s %s: %s", o.method, o.at(id), answer.Body)
				assert.Equal(t, code, p.Code)
				assert.Contains(t, answer.Header().Get("WWW-Authenticate"), says)
			}
			require.NotEmpty(t, o.scopes)
			assert.Contains(t, o.scopes, perennial.ScopeAdmin)
			refused("", 401, "unauthorized", own.ID, `Bearer realm="perennial"`)
			for name, key := range map[string]string{"no key": "x", "an unknown id": "pk_0011223344556677_" + strings.Repeat("0", 64),
				"another's secret": adminKey[:len(admin.ID)+1] + otherKey[len(admin.ID)+1:], "a revoked one": revokedKey, "cut": adminKey[:len(adminKey)-1]} {
				refused(key, 401, "unauthorized", own.ID, `error="invalid_token"`)
				_ = name
			}
			refused(mightNot, 403, "insufficient_scope", own.ID, `error="insufficient_scope", scope="`+string(o.scopes[0]))
			for _, s := range perennial.Scopes {
				if !slices.Contains(o.scopes, s) {
					refused(byScope[s], 403, "insufficient_scope", own.ID, "insufficient_scope")
				}
			}
			for _, s := range o.scopes {
				answer := w.Do(byScope[s], o.method, o.at("none"), o.valid())
				assert.NotContains(t, []int{401, 403}, answer.Code, "scope %s", s)
				if strings.Contains(o.path, "/connections/{id}") && o.method == http.MethodGet {
					assert.Equal(t, 200, w.Do(byScope[s], o.method, o.at(own.ID), "").Code)
				}
			}
			switch {
			case strings.Contains(o.path, "/connections/{id}"):
				refused(adminKey, 404, "not_found", theirs.ID, "")
				assert.Equal(t, w.Do(adminKey, o.method, o.at("con_none"), o.valid()).Body.Len(), w.Do(adminKey, o.method, o.at(theirs.ID), o.valid()).Body.Len())
			case strings.Contains(o.path, "/connect-sessions/{id}"):
				refused(adminKey, 404, "not_found", theirLink.ID, "")
			case strings.Contains(o.path, "/webhooks/{id}"):
				refused(adminKey, 404, "not_found", hook.ID, "")
				refused(adminKey, 404, "not_found", nobodys.ID, "")
			}
		})
	}
	for _, c := range []perennial.Connection{own, theirs} {
		now := w.Row(c.ID)
		assert.Equal(t, c.Generation, now.Generation)
		assert.Equal(t, perennial.StatusActive, now.Status)
	}
	theirsNow := w.Row(theirs.ID)
	assert.Zero(t, theirsNow.LastUsedAt)
	assert.Equal(t, theirs.UpdatedAt, theirsNow.UpdatedAt, "nothing of another tenant's was touched")
	still, err := w.Webhooks.Endpoint(t.Context(), perennial.WorkerAccess(), hook.ID)
	require.NoError(t, err)
	assert.Zero(t, still.DisabledAt)
	assert.EqualValues(t, 1, still.SecretVersion)
	clean(t, w.Logs.String())
	for _, key := range []string{adminKey, otherKey, revokedKey} {
		assert.NotContains(t, w.Logs.String(), key[len(admin.ID)+1:])
	}
}

// problemIn reads an answer that must be a problem, and searches it.
func problemIn(t testing.TB, answer interface {
	Header() http.Header
}) api.Problem {
	t.Helper()
	r := answer.(interface{ Result() *http.Response }).Result()
	var p api.Problem
	require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
	require.NoError(t, json.NewDecoder(r.Body).Decode(&p))
	assert.Equal(t, r.StatusCode, p.Status)
	assert.NotEmpty(t, p.Code)
	assert.NotEmpty(t, p.Detail)
	assert.Equal(t, http.StatusText(r.StatusCode), p.Title)
	assert.Equal(t, r.Header.Get("X-Request-Id"), p.RequestID)
	clean(t, fmt.Sprint(p, r.Header))
	return p
}

// clean searches a text for planted secrets.
func clean(t testing.TB, text string) {
	t.Helper()
	for _, planted := range []string{clienttest.Secret, apitest.RefreshSecret, "planted-url", "planted-secret"} {
		assert.NotContains(t, text, planted)
	}
}

// TestListsShowOneTenant: a list shows only the caller's own tenant.
func TestListsShowOneTenant(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	own, theirs := w.Connect("acme"), w.Connect("other")
	_, key := w.Key("acme", perennial.ScopeAdmin)
	for _, id := range []string{"whe_own", "whe_theirs"} {
		_, err := w.Webhooks.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: id, TenantID: map[string]string{"whe_own": "acme", "whe_theirs": "other"}[id],
			URL: "https://" + id + ".example/", SecretSealed: []byte("planted-secret")})
		require.NoError(t, err)
	}
	_, err := w.SessionRows.Add(t.Context(), perennial.ConnectSession{ID: "cs_own", TenantID: "acme", App: apitest.App, Mode: perennial.ConnectPage, LinkDigest: "planted-secret"}, time.Hour)
	require.NoError(t, err)
	for _, o := range operations(t, w) {
		if o.method != http.MethodGet || o.id == "getToken" {
			continue
		}
		id := own.ID
		if strings.Contains(o.path, "webhooks") {
			id = "whe_own"
		}
		if strings.Contains(o.path, "connect-sessions") {
			id = "cs_own"
		}
		answer := w.Do(key, o.method, o.at(id), "")
		require.Equal(t, http.StatusOK, answer.Code, "%s: %s", o.id, answer.Body)
		for _, foreign := range []string{theirs.ID, theirs.AccountID, "whe_theirs", "other"} {
			assert.NotContains(t, answer.Body.String(), foreign, o.id)
		}
		if o.id == "listConnections" || o.id == "getConnection" {
			assert.Contains(t, answer.Body.String(), own.AccountID)
		}
		clean(t, answer.Body.String())
		assert.Equal(t, "no-store", answer.Header().Get("Cache-Control"))
	}
}
