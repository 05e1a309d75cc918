package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// read decodes the body of a successful answer.
func read[T any](t testing.TB, answer *httptest.ResponseRecorder) T {
	t.Helper()
	require.Less(t, answer.Code, 300, answer.Body.String())
	var out T
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &out))
	return out
}

func grant(app, account, which string) string {
	return fmt.Sprintf(`{"app": %q, "account_id": %q, "tokens": {"access_token": "planted-access-token-%[3]s", "refresh_token": "planted-refresh-token-%[3]s", "expires_in": 1800, "scope": "a b"}}`, app, account, which)
}

func reconnect(account, which string) string {
	return fmt.Sprintf(`{"account_id": %q, "tokens": {"access_token": "planted-access-token-%[2]s", "refresh_token": "planted-refresh-token-%[2]s", "expires_in": 1800}}`, account, which)
}

// TestLifeOfAConnection: what a caller can do to a connection, from its first grant to
// its end.
func TestLifeOfAConnection(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite, perennial.ScopeTokensRead)
	c := read[api.Connection](t, w.Do(key, "POST", "/v1/connections", grant(apitest.Revocable, "realm 1", "one")))
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.Equal(t, "quickbooks", c.Provider)
	assert.Equal(t, "realm 1", c.AccountID)
	assert.EqualValues(t, 1, c.Generation)
	assert.Equal(t, []string{"a", "b"}, c.Scopes)
	assert.Equal(t, "Connected", c.Words.Label)
	assert.Equal(t, []string{"reconnected " + c.ID}, w.Signalled())
	assert.False(t, w.Row(c.ID).Proven(), "a caller's tokens")

	at := "/v1/connections/" + c.ID
	token := read[wire.Token](t, w.Do(key, "GET", at+"/token", ""))
	assert.Equal(t, "planted-access-token-one", token.AccessToken)

	p := problemIn(t, w.Do(key, "PUT", at+"/tokens", reconnect("realm 2", "two")))
	assert.Equal(t, perennial.CodeAccountMismatch, p.Code)
	assert.EqualValues(t, 1, w.Row(c.ID).Generation)
	again := read[api.Connection](t, w.Do(key, "PUT", at+"/tokens", reconnect("realm 1", "two")))
	assert.Equal(t, c.ID, again.ID)
	assert.EqualValues(t, 2, again.Generation)

	assert.Equal(t, perennial.StatusPaused, read[api.Connection](t, w.Do(key, "POST", at+"/pause", "")).Status)
	paused := problemIn(t, w.Do(key, "GET", at+"/token", ""))
	assert.Equal(t, perennial.CodePaused, paused.Code)
	assert.Equal(t, perennial.StatusPaused, paused.State.Status)
	assert.Equal(t, perennial.StatusActive, read[api.Connection](t, w.Do(key, "POST", at+"/resume", "")).Status)
	assert.Equal(t, perennial.CadenceOnUse, read[api.Connection](t, w.Do(key, "PUT", at+"/cadence", `{"cadence": "on_use"}`)).Cadence)

	gone := read[api.Connection](t, w.Do(key, "POST", at+"/disconnect", ""))
	assert.Equal(t, perennial.StatusDisconnected, gone.Status)
	assert.Equal(t, perennial.RevocationDone, gone.Revocation)
	assert.Equal(t, []string{"planted-refresh-token-two"}, w.Revoked(), "the last token, once")
	assert.Empty(t, w.Row(c.ID).RefreshTokenSealed)
	gone = read[api.Connection](t, w.Do(key, "POST", at+"/disconnect", ""))
	assert.Equal(t, perennial.RevocationNone, gone.Revocation)
	assert.Len(t, w.Revoked(), 1)
	assert.Equal(t, perennial.CodeConflict, problemIn(t, w.Do(key, "POST", at+"/pause", "")).Code)
	assert.Equal(t, perennial.CodeDisconnected, problemIn(t, w.Do(key, "GET", at+"/token", "")).Code)

	revived := read[api.Connection](t, w.Do(key, "POST", "/v1/connections", grant(apitest.Revocable, "realm 1", "three")))
	assert.Equal(t, c.ID, revived.ID)
	assert.Equal(t, perennial.StatusActive, revived.Status)
	clean(t, w.Logs.String())
}

// TestTokenInUse: a refresh token that another connection of the app came with is refused,
// whichever tenant that is of, and the answer says nothing about it.
func TestTokenInUse(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, acme := w.Key("acme", perennial.ScopeConnectionsWrite)
	_, globex := w.Key("globex", perennial.ScopeConnectionsWrite)
	first := read[api.Connection](t, w.Do(acme, "POST", "/v1/connections", grant(apitest.Revocable, "realm 1", "one")))
	own := read[api.Connection](t, w.Do(globex, "POST", "/v1/connections", grant(apitest.Revocable, "realm 2", "two")))
	for _, answer := range []*httptest.ResponseRecorder{
		w.Do(globex, "POST", "/v1/connections", grant(apitest.Revocable, "realm 3", "one")),
		w.Do(globex, "PUT", "/v1/connections/"+own.ID+"/tokens", reconnect("realm 2", "one")),
	} {
		assert.Equal(t, http.StatusConflict, answer.Code)
		assert.Empty(t, answer.Header().Get("Retry-After"), "to wait mends nothing")
		said := answer.Body.String()
		assert.NotContains(t, said, first.ID)
		assert.NotContains(t, said, "acme")
		assert.NotContains(t, said, "realm 1")
		p := problemIn(t, answer)
		assert.Equal(t, perennial.CodeConflict, p.Code)
		assert.Contains(t, p.Detail, "The refresh token is in use")
	}
	assert.EqualValues(t, 1, w.Row(own.ID).Generation)
	assert.Empty(t, w.Revoked(), "that would end the first")
	read[api.Connection](t, w.Do(acme, "PUT", "/v1/connections/"+first.ID+"/tokens", reconnect("realm 1", "one")))
	read[api.Connection](t, w.Do(acme, "POST", "/v1/connections/"+first.ID+"/disconnect", ""))
	read[api.Connection](t, w.Do(globex, "POST", "/v1/connections", grant(apitest.Revocable, "realm 3", "one")))
	clean(t, w.Logs.String())
}

func TestDisconnectWithoutRevocation(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
	c := w.Connect("acme") // this app's provider has no revocation endpoint
	gone := read[api.Connection](t, w.Do(key, "POST", "/v1/connections/"+c.ID+"/disconnect", ""))
	assert.Equal(t, perennial.RevocationUnsupported, gone.Revocation)
	other := read[api.Connection](t, w.Do(key, "POST", "/v1/connections", grant(apitest.Revocable, "realm", "one")))
	w.Answer(errors.New("HTTP status 503"))
	gone = read[api.Connection](t, w.Do(key, "POST", "/v1/connections/"+other.ID+"/disconnect", ""))
	assert.Equal(t, perennial.StatusDisconnected, gone.Status, "the customer is disconnected all the same")
	assert.Equal(t, perennial.RevocationFailed, gone.Revocation)
	assert.Contains(t, w.Logs.String(), "not revoked at the provider")
	clean(t, w.Logs.String())
}

// TestStoredButNotTold: a written row is a success, even if Temporal is away. A caller
// that sent the tokens again might overwrite those of a later refresh.
func TestStoredButNotTold(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
	w.FailToTell(errors.New("no Temporal"))
	c := read[api.Connection](t, w.Do(key, "POST", "/v1/connections", grant(apitest.App, "1", "one")))
	assert.EqualValues(t, 1, w.Row(c.ID).Generation)
	for _, step := range []struct {
		path   string
		status perennial.Status
	}{{"/pause", perennial.StatusPaused}, {"/resume", perennial.StatusActive}, {"/disconnect", perennial.StatusDisconnected}} {
		assert.Equal(t, step.status, read[api.Connection](t, w.Do(key, "POST", "/v1/connections/"+c.ID+step.path, "")).Status)
	}
	assert.Equal(t, perennial.CadenceOnUse, read[api.Connection](t, w.Do(key, "PUT", "/v1/connections/"+c.ID+"/cadence", `{"cadence": "on_use"}`)).Cadence)
	assert.Contains(t, w.Logs.String(), "workflow not signalled")
}

// TestListing: filters and pages.
func TestListing(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	all := map[string]bool{}
	for range 5 {
		all[w.Connect("acme").ID] = true
	}
	paused := w.Connect("acme")
	w.SetStatus(paused.ID, perennial.StatusPaused, "")
	all[paused.ID] = true
	w.Connect("other")
	list := func(query string) (ids []string, next string) {
		t.Helper()
		page := read[struct {
			Connections []api.Connection
			NextCursor  string `json:"next_cursor"`
		}](t, w.Do(key, "GET", "/v1/connections?"+query, ""))
		for _, c := range page.Connections {
			ids = append(ids, c.ID)
		}
		return ids, page.NextCursor
	}
	seen := map[string]bool{}
	for cursor, pages := "", 0; ; pages++ {
		require.Less(t, pages, 4)
		ids, next := list("limit=2&cursor=" + cursor)
		for _, id := range ids {
			assert.False(t, seen[id], "twice")
			seen[id] = true
		}
		if next == "" {
			break
		}
		cursor = next
	}
	assert.Equal(t, all, seen)
	for query, want := range map[string]int{"": 6, "status=paused": 1, "status=active": 5, "provider=hubspot": 6, "provider=xero": 0, "app=crm": 6,
		"app=books": 0, "health=healthy": 5, "status=active&health=healthy": 5, "health=failing": 0, "status=paused&app=crm": 1} {
		ids, _ := list(query)
		assert.Len(t, ids, want, query)
	}
	for _, bad := range []string{"status=nothing", "limit=0", "limit=201", "limit=x", "cursor=%21", "cursor=e30", "unknown=1", "limit=1&limit=2", "app=%00", "app=%ff",
		"health=well", "status=Active", "status=active,paused", "status=paused&health=healthy", "app=crn", "provider=hubspt", "app=crn&provider=hubspot"} {
		answer := w.Do(key, "GET", "/v1/connections?"+bad, "")
		assert.Equal(t, 422, answer.Code, bad)
		assert.Equal(t, perennial.CodeInvalid, problemIn(t, answer).Code)
	}
}

// TestNamesThatLeft: an app or a provider may have left the configuration or the
// catalogue. It is still a valid filter for a tenant that has connections of it, and
// the answer says nothing of another tenant's.
func TestNamesThatLeft(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	c := w.Connect("acme")
	w.Exec("UPDATE connections SET app = 'left', provider = 'gone' WHERE id = '" + c.ID + "'")
	_, own := w.Key("acme", perennial.ScopeAdmin)
	_, other := w.Key("other", perennial.ScopeAdmin)
	for _, query := range []string{"app=left", "provider=gone", "app=left&status=paused"} {
		assert.Equal(t, 200, w.Do(own, "GET", "/v1/connections?"+query, "").Code, query)
		answer := w.Do(other, "GET", "/v1/connections?"+query, "")
		assert.Equal(t, 422, answer.Code, query)
		assert.Equal(t, "query."+query[:strings.Index(query, "=")], problemIn(t, answer).Errors[0].Location)
	}
}

// TestOneStory: values that a row keeps from an earlier status are not shown as
// current.
func TestOneStory(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	c := w.Connect("acme")
	_, key := w.Key("acme", perennial.ScopeAdmin)
	for _, status := range perennial.Statuses {
		w.SetStatus(c.ID, status, "")
		shown := read[map[string]any](t, w.Do(key, "GET", "/v1/connections/"+c.ID, ""))
		require.Equal(t, string(status), shown["status"])
		for member, of := range map[string][]perennial.Status{"health": {perennial.StatusActive}, "next_refresh_at": {perennial.StatusActive},
			"expires_at": {perennial.StatusActive, perennial.StatusReconnectRequired, perennial.StatusPaused}} {
			assert.Equal(t, slices.Contains(of, status), shown[member] != nil, "%s: %s", status, member)
		}
	}
}

// TestProblems: a problem says what is wrong with a request without repeating it.
func TestProblems(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	c := w.Connect("acme")
	at := "/v1/connections/" + c.ID
	const planted = "planted-access-token-x"
	for name, r := range map[string]struct {
		method, target, body string
		header               []string
		status               int
		code                 perennial.Code
		says                 string
	}{
		"no such path":               {"GET", "/v1/" + planted, "", nil, 404, "not_found", ""},
		"no such method":             {"PATCH", at, "", nil, 405, "method_not_allowed", ""},
		"no body":                    {"POST", "/v1/connections", "", nil, 400, "invalid", ""},
		"not JSON":                   {"POST", "/v1/connections", planted, nil, 400, "invalid", "is not readable"},
		"another type":               {"POST", "/v1/connections", `{}`, []string{"Content-Type", "text/plain"}, 415, "unsupported_media_type", ""},
		"a missing member":           {"POST", "/v1/connections", `{"app": "` + planted + `"}`, nil, 422, "invalid", "account_id"},
		"a member of another name":   {"POST", "/v1/connections", `{"` + planted + `": 1, "app": "crm", "account_id": "1", "tokens": {"access_token": "x"}}`, nil, 422, "invalid", "unexpected property"},
		"a member of another type":   {"POST", "/v1/connections", `{"app": ["` + planted + `"], "account_id": "1", "tokens": {}}`, nil, 422, "invalid", "body.app"},
		"tokens of another type":     {"PUT", at + "/tokens", `{"account_id": "1", "tokens": "` + planted + `"}`, nil, 422, "invalid", "body.tokens"},
		"a reply without a token":    {"PUT", at + "/tokens", `{"account_id": "1", "tokens": {"id_token": "` + planted + `"}}`, nil, 422, "invalid", "access_token"},
		"a reply without a refresh":  {"POST", "/v1/connections", `{"app": "crm", "account_id": "1", "tokens": {"access_token": "` + planted + `"}}`, nil, 422, "invalid", "refresh_token"},
		"an unknown app":             {"POST", "/v1/connections", grant(planted, "1", "x"), nil, 422, "invalid", "body.app"},
		"a control character":        {"POST", "/v1/connections", grant("crm", planted+"\t", "x"), nil, 422, "invalid", "body.account_id"},
		"the character NUL":          {"POST", "/v1/connections", `{"app": "crm", "account_id": "\u0000` + planted + `", "tokens": {}}`, nil, 422, "invalid", ""},
		"an enum":                    {"PUT", at + "/cadence", `{"cadence": "` + planted + `"}`, nil, 422, "invalid", "body.cadence"},
		"an id that is none":         {"GET", "/v1/connections/" + planted + ".", "", nil, 422, "invalid", "path.id"},
		"a long id":                  {"GET", "/v1/connections/" + strings.Repeat(planted, 10), "", nil, 422, "invalid", "path.id"},
		"a number":                   {"GET", at + "/token?min_ttl=" + planted, "", nil, 422, "invalid", "query.min_ttl"},
		"an unknown parameter":       {"GET", at + "/token?" + planted + "=1", "", nil, 422, "invalid", "unknown query parameter"},
		"a long body":                {"POST", "/v1/connections", `{"app": "` + strings.Repeat(planted, 20_000) + `"}`, nil, 413, "too_large", ""},
		"an event type that is none": {"POST", "/v1/webhooks", `{"url": "https://example.com/", "types": ["connection.connected", "` + planted + `"]}`, nil, 422, "invalid", "body.types"},
		"a state that is none":       {"GET", "/v1/webhooks/whe_1/deliveries?state=" + planted, "", nil, 422, "invalid", "query.state"},
		"a private webhook":          {"POST", "/v1/webhooks", `{"url": "https://127.0.0.1/planted-url"}`, nil, 422, "invalid", "body.url"},
		"a webhook with a password":  {"POST", "/v1/webhooks", `{"url": "https://u:planted-secret@example.com/"}`, nil, 422, "invalid", "body.url"},
		"an event that there is not": {"POST", "/v1/webhooks", `{"url": "https://example.com/", "types": ["` + planted + `"]}`, nil, 422, "invalid", "body.types"},
		"an Idempotency-Key":         {"POST", at + "/pause", "", []string{"Idempotency-Key", planted + "\t"}, 422, "invalid", ""},
		"an app that is none":        {"GET", "/v1/apps/" + planted, "", nil, 404, "not_found", ""},
		"no such delivery":           {"POST", "/v1/webhooks/whe_none/deliveries/evt_none/redeliver", "", nil, 404, "not_found", ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer := w.Do(key, r.method, r.target, r.body, r.header...)
			body := answer.Body.String()
			p := problemIn(t, answer)
			assert.Equal(t, r.status, p.Status, body)
			assert.Equal(t, r.code, p.Code, body)
			assert.Contains(t, body, r.says)
			clean(t, body)
		})
	}
	assert.Equal(t, "GET, HEAD", w.Do(key, "PATCH", at, "").Header().Get("Allow"))
	clean(t, w.Logs.String())
	assert.Equal(t, http.StatusOK, w.Do(key, "GET", at, "").Code)
}

// TestAttemptsByPages: the pages of a ledger have each line once, also where many lines
// have one time.
func TestAttemptsByPages(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	con := w.Connect("acme")
	w.Exec(`INSERT INTO attempts (id, connection_id, generation, trigger_name, outcome, started_at)
		SELECT 'a' || n, '` + con.ID + `', 1, 'timer', 'refreshed', '2026-01-02 03:04:05+00' FROM generate_series(1, 5) AS n`)
	seen := map[string]bool{}
	cursor := ""
	for pages := 1; ; pages++ {
		require.LessOrEqual(t, pages, 3)
		answer := w.Do(key, "GET", "/v1/connections/"+con.ID+"/attempts?limit=2&cursor="+cursor, "")
		require.Equal(t, 200, answer.Code, answer.Body)
		var page struct {
			Attempts []struct {
				ID string `json:"id"`
			} `json:"attempts"`
			NextCursor string `json:"next_cursor"`
		}
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
		for _, a := range page.Attempts {
			assert.False(t, seen[a.ID], a.ID)
			seen[a.ID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	assert.Len(t, seen, 5)
}
