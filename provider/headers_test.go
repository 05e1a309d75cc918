package provider

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// TestRequestHeaders: every request to the provider has the description's headers, and
// its own Authorization.
func TestRequestHeaders(t *testing.T) {
	t.Parallel()
	requests := map[string]func(c *Client, a App){
		"exchange": func(c *Client, a App) {
			c.Exchange(t.Context(), a, testSecret, AuthorizationCode{Code: perennial.NewSecret("code"), Verifier: perennial.NewSecret("verifier")})
		},
		"refresh": func(c *Client, a App) { c.Refresh(t.Context(), a, testSecret, testToken, sendAtOnce) },
		"credentials": func(c *Client, a App) {
			a.Provider.Grant, a.Provider.Credentials = GrantClientCredentials, []string{"tenant"}
			given, _, err := ParseCredentials(perennial.NewSecret(`{"tenant":"t"}`), a.Provider)
			assert.NoError(t, err)
			c.Refresh(t.Context(), a, testSecret, given, sendAtOnce)
		},
		"revoke": func(c *Client, a App) { _ = c.Revoke(t.Context(), a, testToken) },
		"account": func(c *Client, a App) {
			a.Provider.Account = AccountSource{From: AccountFromURL, Name: "sub", URL: a.Provider.TokenURL}
			_, _ = c.Account(t.Context(), a, testSecret, testToken, "", "")
		},
		"callback": func(c *Client, a App) {
			a.Provider.Account = AccountSource{From: AccountFromCallback, Name: "id", URL: a.Provider.TokenURL + "/{account}"}
			_, _ = c.Account(t.Context(), a, testSecret, testToken, "42", "")
		},
		"introspection": func(c *Client, a App) {
			a.Provider.Account = AccountSource{From: AccountFromIntrospection, Name: "sub"}
			_, _ = c.Account(t.Context(), a, testSecret, testToken, "", "")
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var seen []http.Header
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen = append(seen, r.Header)
				_, _ = w.Write([]byte(`{"access_token":"a","sub":"account"}`))
			}))
			defer server.Close()
			e := Entry{Name: "generic", TokenURL: server.URL, RevokeURL: server.URL, IntrospectURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader,
				RequestHeaders: map[string]string{"Acme-Version": "2026-11-28", "Client-Id": "{client_id}", "User-Agent": "acme/1.0 (by us)", "Accept": "application/vnd.acme+json"}}
			request(NewClient(ClientConfig{}), App{Name: "app", ClientID: "client id", Provider: e})
			require.Len(t, seen, 1)
			assert.Equal(t, "2026-11-28", seen[0].Get("Acme-Version"))
			assert.Equal(t, "client id", seen[0].Get("Client-Id"))
			assert.Equal(t, []string{"acme/1.0 (by us)"}, seen[0].Values("User-Agent"))
			assert.Equal(t, []string{"application/vnd.acme+json"}, seen[0].Values("Accept"))
			assert.Contains(t, seen[0].Get("Authorization"), " ", "its own")
		})
	}
}

// TestWrongRequestHeaders: a description has no header that would change a request's
// meaning, and no secret, and no problem repeats a value.
func TestWrongRequestHeaders(t *testing.T) {
	t.Parallel()
	problems := func(headers map[string]string) (all []string) {
		Description{RequestHeaders: headers}.Over(Entry{}, false, func(key, text string) { all = append(all, key+" "+text) })
		return all
	}
	for _, name := range []string{"Authorization", "authorization", "HOST", "cookie", "Content-Type", "content-length", "Transfer-Encoding", "Accept-Encoding", "Connection",
		"Proxy-Authorization", "Idempotency-Key", "X-HTTP-Method-Override", "Range", "If-None-Match", "X-Forwarded-For", "Expect", "DPoP", "Upgrade", "TE"} {
		assert.Equal(t, []string{"request_headers." + name + " is set by Perennial or by HTTP itself: leave it out"}, problems(map[string]string{name: "x"}))
	}
	for _, name := range []string{"X-Api-Key", "Api-Secret", "X-Auth-Key", "x-access-token", "Developer-Token", "X-Signature", "Password"} {
		got := problems(map[string]string{name: secret})
		require.Len(t, got, 1, name)
		assert.Contains(t, got[0], "is for a secret", name)
		assert.Empty(t, problems(map[string]string{name: "{client_id}"}), name)
	}
	for _, value := range []string{"", " x", "x ", "x\r\nAuthorization: y", "x\ny", "x\x00", "ü", "x\x7f", strings.Repeat("x y ", 65)} {
		got := problems(map[string]string{"X-Version": value})
		require.Len(t, got, 1, "%q", value)
		assert.Contains(t, got[0], "must be one line of printable ASCII", "%q", value)
	}
	got := problems(map[string]string{"X-Version": "q7Hs82kLmQz91PdRtYv5Wx"})
	require.Len(t, got, 1)
	assert.Contains(t, got[0], "looks like a secret")
	assert.NotContains(t, got[0], "q7Hs")
	for _, name := range []string{"", "X Version", "X:Version", "X-Version\r\n", "X-" + strings.Repeat("a", 70), "q7Hs82kLmQz91PdRtYv5Wx"} {
		assert.Equal(t, []string{"request_headers has a name (not shown) that is no header's name"}, problems(map[string]string{name: "x"}), "%q", name)
	}
	assert.Len(t, problems(map[string]string{"X-Version": "1", "x-version": "2"}), 1)
	many := map[string]string{}
	for i := range maxHeaders + 1 {
		many["X-"+strings.Repeat("a", i+1)] = "1"
	}
	assert.Len(t, problems(many), 1)
	assert.Empty(t, problems(map[string]string{"Acme-Version": "2026-11-28", "Accept": "application/vnd.github.v3+json", "User-Agent": "web:com.example.perennial:v1.0 (by /u/acme)"}))
}

// TestRequestHeadersAreMerged: an app's headers are laid over the entry's, whatever the
// case of their names.
func TestRequestHeadersAreMerged(t *testing.T) {
	t.Parallel()
	e := Entry{RequestHeaders: map[string]string{"Acme-Version": "1", "Accept": "x/y"}}
	d := Description{RequestHeaders: map[string]string{"acme-version": "2"}}
	wrong := func(key, text string) { t.Errorf("%s %s", key, text) }
	assert.Equal(t, map[string]string{"Acme-Version": "2", "Accept": "x/y"}, d.Over(e, false, wrong).RequestHeaders)
	assert.Equal(t, map[string]string{"Acme-Version": "2"}, d.Over(e, true, wrong).RequestHeaders)
	assert.Equal(t, e.RequestHeaders, Description{}.Over(e, true, wrong).RequestHeaders)
	assert.Equal(t, "1", e.RequestHeaders["Acme-Version"])
}

func sendAtOnce(context.Context) error { return nil }
