package api_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
)

// FuzzRequest: whatever the request, there is no 5xx, nothing of another tenant, and no
// token in a problem.
func FuzzRequest(f *testing.F) {
	w := apitest.New(f, testpg.URL(f))
	own, theirs := w.Connect("acme"), w.Connect("other")
	_, key := w.Key("acme", perennial.ScopeAdmin)
	all := operations(f, w)
	for _, o := range all {
		for _, id := range []string{own.ID, theirs.ID, "con_none"} {
			f.Add(o.method, o.at(id), o.valid(), "application/json", "")
		}
	}
	f.Add("GET", "/v1/connections?cursor=eyJTdGFydGVkQXQiOiIwMDAxLTAxLTAxVDAwOjAwOjAwWiJ9&limit=200", "", "", "")
	f.Add("GET", "/v1/connections/"+own.ID+"/token?min_ttl=1&if_generation=9223372036854775807", "", "", "")
	f.Add("PUT", "/v1/connections/"+own.ID+"/tokens", `{"account_id": "1", "tokens": {"access_token": {"a": []}, "expires_in": 1e400, "scope": "\ud800"}}`, "application/json", "k")
	f.Add("POST", "/v1/connections", `{"app": "crm", "account_id": "1", "host": "x", "tokens": {"access_token": "planted-access-token", "refresh_token": "planted-refresh-token", "obtained_at": -1e300}}`, "application/json; charset=x", "k")
	f.Add("CONNECT", "//v1//../v1/%2e%2e/%00", "\x00", "a+b;c", "\x7f")
	f.Fuzz(func(t *testing.T, method, target, body, contentType, idempotencyKey string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || !token(method) {
			return // net/http's own server refuses these
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Host: "api.example", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Authorization": {"Bearer " + key}}, Body: http.NoBody}
		if body != "" {
			r.Body = readCloser{strings.NewReader(body)}
		}
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		if idempotencyKey != "" {
			r.Header.Set("Idempotency-Key", idempotencyKey)
		}
		answer := httptest.NewRecorder()
		w.API.ServeHTTP(answer, r.WithContext(t.Context()))
		all := answer.Body.String()
		if answer.Code >= 500 && !strings.Contains(all, `"code":"unavailable"`) {
			t.Errorf("%d: %s", answer.Code, all)
		}
		for _, foreign := range []string{theirs.AccountID, `"other"`} {
			assert.NotContains(t, all, foreign)
		}
		if answer.Code >= 400 {
			for _, planted := range []string{"planted-access-token", "planted-refresh-token"} {
				assert.NotContains(t, all, planted)
			}
			assert.Equal(t, "application/problem+json", answer.Header().Get("Content-Type"))
		}
		if logged := w.Logs.Take(); strings.Contains(logged, "planted-") || strings.Contains(logged, "panicked") {
			t.Error(logged)
		}
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// token reports whether a method is a token (RFC 9110 section 5.6.2).
func token(method string) bool {
	return method != "" && !strings.ContainsFunc(method, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) })
}
