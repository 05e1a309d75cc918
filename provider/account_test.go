package provider

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"golang.org/x/oauth2"
)

// TestCallbackIsVerified: the account that a callback names is that of the token at the
// production's API or at the sandbox's. No answer is no refusal.
func TestCallbackIsVerified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hint                string
		production, sandbox int
		code                perennial.Code
		asked               []string
	}{
		"production":                  {"42", 200, 403, "", []string{"/42/info/42"}},
		"a sandbox":                   {"42", 403, 200, "", []string{"/42/info/42", "/sandbox/42"}},
		"a sandbox, by another word":  {"42", 404, 200, "", []string{"/42/info/42", "/sandbox/42"}},
		"a sandbox, by a 401":         {"42", 401, 200, "", []string{"/42/info/42", "/sandbox/42"}},
		"not accepted yet":            {"42", 401, 403, perennial.CodeUnavailable, []string{"/42/info/42", "/sandbox/42", "/42/info/42", "/sandbox/42"}},
		"not at the sandbox yet":      {"42", 403, 401, perennial.CodeUnavailable, []string{"/42/info/42", "/sandbox/42", "/42/info/42", "/sandbox/42"}},
		"an edited one":               {"43", 403, 403, perennial.CodeInvalid, []string{"/43/info/43", "/sandbox/43"}},
		"production is down":          {"42", 502, 200, perennial.CodeUnavailable, []string{"/42/info/42"}},
		"the sandbox is down":         {"42", 403, 502, perennial.CodeUnavailable, []string{"/42/info/42", "/sandbox/42"}},
		"a path":                      {"42/../43", 200, 200, "", []string{"/42%2F..%2F43/info/42%2F..%2F43"}},
		"a query":                     {"42?a=b&c=d#e", 200, 200, "", []string{"/42%3Fa%3Db%26c%3Dd%23e/info/42%3Fa%3Db%26c%3Dd%23e"}},
		"a space":                     {"4 2", 200, 200, "", []string{"/4%202/info/4%202"}},
		"the folder above":            {"..", 200, 200, perennial.CodeInvalid, nil},
		"the folder itself":           {".", 200, 200, perennial.CodeInvalid, nil},
		"a control character":         {"4\x002", 200, 200, perennial.CodeInvalid, nil},
		"one that turns the text":     {"4\u202e2", 200, 200, perennial.CodeInvalid, nil},
		"nothing":                     {"", 200, 200, perennial.CodeInvalid, nil},
		"a redirect confirms nothing": {"42", 302, 307, perennial.CodeInvalid, []string{"/42/info/42", "/sandbox/42"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			mux := http.NewServeMux()
			answer := func(status int) http.HandlerFunc {
				return func(w http.ResponseWriter, r *http.Request) {
					asked = append(asked, r.URL.EscapedPath())
					assert.Equal(t, "Bearer access", r.Header.Get("Authorization"))
					assert.Empty(t, r.URL.RawQuery)
					w.WriteHeader(status)
					_, _ = w.Write([]byte(`{}`))
				}
			}
			mux.HandleFunc("/{id}/info/{same}", answer(c.production))
			mux.HandleFunc("/sandbox/{id}", answer(c.sandbox))
			server := httptest.NewServer(mux)
			defer server.Close()
			app := App{Name: "a", Provider: Entry{Name: "p", Account: AccountSource{From: AccountFromCallback, Name: "realmId",
				URL: server.URL + "/{account}/info/{account}", SandboxURL: server.URL + "/sandbox/{account}"}}}
			got, err := NewClient(ClientConfig{}).Account(t.Context(), app, perennial.Secret{}, perennial.NewSecret("access"), c.hint, "")
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			assert.Equal(t, c.asked, asked)
			if c.code == "" {
				assert.Equal(t, Account{ID: c.hint}, got)
			}
		})
	}
}

// TestEntriesVerifyCallbacks: no entry believes a value that came through the browser.
func TestEntriesVerifyCallbacks(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		if s := entry(t, name).Account; s.From == AccountFromCallback {
			assert.Regexp(t, `^https://[^{]+/.*\{account\}`, s.URL, name)
			assert.True(t, s.placed(), name)
		}
	}
}

// TestYoungToken: a token that the API does not know yet is shown once more after a short
// wait, and once only. A client that is refused is not.
func TestYoungToken(t *testing.T) {
	t.Parallel()
	url := AccountSource{From: AccountFromURL, Name: "id"}
	introspection := AccountSource{From: AccountFromIntrospection, Name: "id"}
	type answer struct {
		status int
		body   string
	}
	good := answer{200, `{"active":true,"id":"42"}`}
	for name, c := range map[string]struct {
		source  AccountSource
		answers []answer // the last one is repeated
		asked   int32
		id      string
		code    perennial.Code
		young   bool
	}{
		"accepted at once":        {url, []answer{good}, 1, "42", "", false},
		"accepted a moment later": {url, []answer{{401, ""}, good}, 2, "42", "", false},
		"callback":                {AccountSource{From: AccountFromCallback, Name: "x"}, []answer{{401, ""}, good}, 2, "42", "", false},
		"never accepted":          {url, []answer{{401, ""}}, 2, "", perennial.CodeUnavailable, true},
		"forbidden":               {url, []answer{{403, ""}}, 1, "", perennial.CodeInvalid, false},
		"not active yet":          {introspection, []answer{{200, `{"active":false}`}, good}, 2, "42", "", false},
		"never active":            {introspection, []answer{{200, `{"active":false}`}}, 2, "", perennial.CodeUnavailable, true},
		"the client is refused":   {introspection, []answer{{401, ""}}, 1, "", perennial.CodeInvalid, false},
		"then it is down":         {url, []answer{{401, ""}, {503, ""}}, 2, "", perennial.CodeUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				a := c.answers[min(int(asked.Add(1)), len(c.answers))-1]
				w.WriteHeader(a.status)
				fmt.Fprint(w, a.body)
			}))
			defer server.Close()
			app := App{Name: "a", ClientID: "id", Provider: Entry{Name: "p", AuthStyle: oauth2.AuthStyleInHeader, IntrospectURL: server.URL, Account: c.source}}
			app.Provider.Account.URL = server.URL + "/{account}"
			began := time.Now()
			got, err := NewClient(ClientConfig{}).Account(t.Context(), app, perennial.NewSecret("s"), perennial.NewSecret("access"), "42", "")
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			assert.Equal(t, c.young, errors.Is(err, ErrTokenNotAccepted))
			assert.Equal(t, c.asked, asked.Load())
			assert.Equal(t, c.id, got.ID)
			assert.Equal(t, c.asked > 1, time.Since(began) >= tokenDelay)
		})
	}
}
