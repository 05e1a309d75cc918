package provider

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
)

// TestYoungToken: an API that does not know a new token yet is asked a second time, and
// no third.
func TestYoungToken(t *testing.T) {
	t.Parallel()
	const revoked = `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN"}`
	for name, c := range map[string]struct {
		source   AccountSource
		answers  []int
		code     perennial.Code
		requests int
	}{
		"at once":                  {AccountSource{From: AccountFromURL, Name: "sub"}, []int{200}, "", 1},
		"a moment later":           {AccountSource{From: AccountFromURL, Name: "sub"}, []int{401, 200}, "", 2},
		"never":                    {AccountSource{From: AccountFromURL, Name: "sub"}, []int{401, 401, 200}, perennial.CodeInvalid, 2},
		"away after a 401":         {AccountSource{From: AccountFromURL, Name: "sub"}, []int{401, 503, 200}, perennial.CodeUnavailable, 2},
		"forbidden":                {AccountSource{From: AccountFromURL, Name: "sub"}, []int{403, 200}, perennial.CodeInvalid, 1},
		"introspection":            {AccountSource{From: AccountFromIntrospection, Name: "sub"}, []int{401, 200}, "", 2},
		"what the browser brought": {AccountSource{From: AccountFromCallback, Name: "realm"}, []int{401, 200}, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status := c.answers[n]
				n++
				w.WriteHeader(status)
				if status == 200 {
					_, _ = io.WriteString(w, `{"sub":"u1"}`)
					return
				}
				_, _ = io.WriteString(w, revoked)
			}))
			defer server.Close()
			e := Entry{Name: "p", IntrospectURL: server.URL, Account: c.source}
			e.Account.URL = server.URL + "/{account}"
			got, err := NewClient(ClientConfig{YoungToken: time.Millisecond}).Account(t.Context(), App{Name: "a", ClientID: "id", Provider: e}, testSecret, testToken, "u1", "")
			assert.Equal(t, c.code, perennial.CodeOf(err), err)
			assert.Equal(t, c.requests, n)
			if c.code == "" {
				assert.Equal(t, "u1", got.ID)
			}
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := NewClient(ClientConfig{YoungToken: time.Hour}).Account(ctx, App{Provider: Entry{Account: AccountSource{From: AccountFromURL, URL: server.URL, Name: "sub"}}}, testSecret, testToken, "", "")
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err), "a caller with less time asks again itself")
}

// TestOtherAccounts: a grant may reach several accounts, which the answer lists.
func TestOtherAccounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		path, body string
		want       Account
	}{
		"a list":              {"0.tenantId", `[{"tenantId":"a"},{"tenantId":"b"},{"tenantId":"c"}]`, Account{ID: "a", Others: []string{"b", "c"}}},
		"a list inside":       {"data.0.id", `{"data":[{"id":1},{"id":2}]}`, Account{ID: "1", Others: []string{"2"}}},
		"one":                 {"0.id", `[{"id":"a"}]`, Account{ID: "a"}},
		"no list":             {"id", `{"id":"a","0":{"id":"b"}}`, Account{ID: "a"}},
		"another one chosen":  {"1.id", `[{"id":"a"},{"id":"b"}]`, Account{ID: "b"}},
		"one that is no name": {"0.id", `[{"id":"a"},{"id":"b\u0000"},{"id":"c"}]`, Account{ID: "a", Others: []string{"c"}}},
		"one without":         {"0.id", `[{"id":"a"},{},{"id":"c"}]`, Account{ID: "a", Others: []string{"c"}}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.body) }))
		e := Entry{Name: "p", Account: AccountSource{From: AccountFromURL, URL: server.URL, Name: c.path}}
		got, err := NewClient(ClientConfig{}).Account(t.Context(), App{Provider: e}, testSecret, testToken, "", "")
		server.Close()
		assert.NoError(t, err, name)
		assert.Equal(t, c.want, got, name)
	}
}
