package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStrictJSON: no second member, other case, or text that two parsers read
// differently can bypass a rule of the document.
func TestStrictJSON(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	own := w.Connect("acme")
	hook := w.Do(key, "POST", "/v1/webhooks", `{"url": "https://8.8.8.8/hook"}`)
	require.Equal(t, http.StatusCreated, hook.Code)
	_, after, _ := strings.Cut(hook.Body.String(), `"id":"`)
	webhook, _, _ := strings.Cut(after, `"`)
	before, err := w.Store.List(t.Context(), accesstest.Of(t, "acme"), store.Filter{})
	require.NoError(t, err)

	at := "/v1/connections/" + own.ID
	long := strings.Repeat("x", 1000)
	reply := `{"access_token": "planted-a", "refresh_token": "planted-r"}`
	connection := func(members string) [3]string {
		return [3]string{"POST", "/v1/connections", `{"app": "crm", ` + members + `}`}
	}
	session := func(members string) [3]string {
		return [3]string{"POST", "/v1/connect-sessions", `{"app": "crm", ` + members + `}`}
	}
	cases := map[string][3]string{
		"another case beside":        connection(`"account_id": "1", "Account_Id": "` + long + `", "tokens": ` + reply),
		"another case before":        connection(`"ACCOUNT_ID": "\u001b[2J", "account_id": "1", "tokens": ` + reply),
		"another case alone":         connection(`"Account_id": "1", "tokens": ` + reply),
		"another case of tokens":     connection(`"account_id": "1", "tokens": ` + reply + `, "Tokens": ` + reply),
		"folding of another letter":  session(`"\u017fcopes": ["a"]`), // ſ folds to s
		"folding of k":               [3]string{"PUT", at + "/tokens", `{"account_id": "` + own.AccountID + `", "tokens": ` + reply + `, "to\u212aens": ` + reply + `}`},
		"twice":                      connection(`"account_id": "1", "account_id": "2", "tokens": ` + reply),
		"twice, escaped":             connection(`"account_id": "1", "\u0061ccount_id": "2", "tokens": ` + reply),
		"twice inside":               connection(`"account_id": "1", "tokens": {"access_token": "planted-a", "refresh_token": "planted-r", "refresh_token": "planted-s"}`),
		"twice in a list inside":     connection(`"account_id": "1", "tokens": {"access_token": "planted-a", "refresh_token": "planted-r", "x": [{"y": 1, "y": 2}]}`),
		"not UTF-8":                  connection("\"account_id\": \"1\xff\", \"tokens\": " + reply),
		"half a character":           connection(`"account_id": "1\ud800", "tokens": ` + reply),
		"halves in the wrong order":  connection(`"account_id": "1\udc00\ud800", "tokens": ` + reply),
		"half a character, inside":   connection(`"account_id": "1", "tokens": {"access_token": "planted-a\ud800x", "refresh_token": "planted-r"}`),
		"deep":                       connection(`"account_id": "1", "tokens": {"access_token": "planted-a", "refresh_token": "planted-r", "x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`),
		"an unknown member":          connection(`"account_id": "1", "planted-name": 1, "tokens": ` + reply),
		"a control character":        connection(`"account_id": "\u0007", "tokens": ` + reply),
		"DEL":                        connection("\"account_id\": \"\x7f\", \"tokens\": " + reply),
		"C1":                         connection(`"account_id": "\u009b31m", "tokens": ` + reply),
		"C1, raw":                    connection("\"account_id\": \"\u0085\", \"tokens\": " + reply),
		"right to left":              connection(`"account_id": "1\u202e2", "tokens": ` + reply),
		"an isolate":                 connection(`"account_id": "1\u2066", "tokens": ` + reply),
		"a mark":                     connection(`"account_id": "1\u200f", "tokens": ` + reply),
		"an Arabic mark":             connection(`"account_id": "1\u061c", "tokens": ` + reply),
		"a line separator":           connection(`"account_id": "1\u2028", "tokens": ` + reply),
		"a space of no width":        connection(`"account_id": "1\u200b", "tokens": ` + reply),
		"a tag":                      connection(`"account_id": "1\udb40\udc41", "tokens": ` + reply),
		"more scopes than allowed":   session(`"scopes": ["a"], "Scopes": ["` + strings.Repeat(`a","`, 200) + `a"]`),
		"a title that reorders":      session(`"tenant_title": "Acme \u202e"`),
		"a return URL with a mark":   session(`"return_url": "https://app.example/\u200e"`),
		"a longer life":              session(`"lifetime": 60, "LIFETIME": 999999`),
		"a webhook's URL with a C1":  {"POST", "/v1/webhooks", `{"url": "https://8.8.8.8/\u009b"}`},
		"a secret kept for ever":     {"POST", "/v1/webhooks/" + webhook + "/secret", `{"keep_seconds": 0, "Keep_Seconds": 9223372036}`},
		"a secret kept, given twice": {"POST", "/v1/webhooks/" + webhook + "/secret", `{"keep_seconds": 9223372036, "keep_seconds": 0}`},
		"a note in another case":     {"POST", at + "/notes", `{"Note": "used"}`},
		"a refresh in another case":  {"POST", at + "/refresh", `{"If_Generation": 1}`},
		"a cadence twice":            {"PUT", at + "/cadence", `{"cadence": "always", "cadence": "on_use"}`},
		"something after it":         connection(`"account_id": "1", "tokens": ` + reply + `} {"app": "crm"`),
	}
	for name, c := range cases {
		answer := w.Do(key, c[0], c[1], c[2])
		assert.Contains(t, []int{400, 422}, answer.Code, "%s: %s", name, answer.Body)
		p := problemIn(t, answer)
		assert.Equal(t, perennial.CodeInvalid, p.Code, name)
		require.NotEmpty(t, p.Errors, name)
		assert.True(t, strings.HasPrefix(p.Errors[0].Location, "body"), "%s: %v", name, p.Errors)
		assert.NotContains(t, answer.Body.String(), "planted", name)
	}
	now, err := w.Store.List(t.Context(), accesstest.Of(t, "acme"), store.Filter{})
	require.NoError(t, err)
	assert.Equal(t, before, now, "nothing was stored or changed")
	endpoint, err := w.Webhooks.Endpoint(t.Context(), perennial.WorkerAccess(), webhook)
	require.NoError(t, err)
	assert.EqualValues(t, 1, endpoint.SecretVersion)

	for _, query := range []string{"app=%C2%9B", "app=%E2%80%AE", "app=a&app=b", "app=%ff", "App=a"} {
		assert.Contains(t, []int{400, 422}, w.Do(key, "GET", "/v1/connections?"+query, "").Code, query)
	}
	for _, path := range []string{"/v1/apps/%C2%9B", "/v1/apps/%E2%81%A6", "/v1/apps/%ff"} {
		assert.Equal(t, 422, w.Do(key, "GET", path, "").Code, path)
	}

	// The provider's values are accepted as they are, and so is text that only looks
	// unusual.
	ok := connection(`"account_id": "Größe 日本 👍🏽 שלום", "tokens": {"access_token": "a\u0001", "refresh_token": "r", "Refresh_Token": "another", "name": "\u202e\u009b", "pair": "\ud83d\ude00\\ud800"}`)
	answer := w.Do(key, ok[0], ok[1], ok[2])
	assert.Equal(t, http.StatusOK, answer.Code, answer.Body)
}
