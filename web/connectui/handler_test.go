package connectui_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/web/connectui"
)

// TestBaseURL: behind a proxy that removes a path, and on this machine without TLS.
func TestBaseURL(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	for base, want := range map[string]struct {
		secure bool
		path   string
	}{
		"https://example.com/oauth/": {true, "/oauth/connect/"},
		"https://example.com":        {true, "/connect/"},
		"http://localhost:8080":      {false, "/connect/"},
	} {
		sessions, err := connect.NewSessions(connect.SessionsConfig{Service: w.Service, Store: w.SessionRows, BaseURL: base})
		require.NoError(t, err)
		h, err := connectui.New(connectui.Config{Sessions: sessions})
		require.NoError(t, err)
		s, err := sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{Tenant: Tenant, App: CRM})
		require.NoError(t, err)
		token := s.Link.Reveal()[len(s.Link.Reveal())-46:]
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/connect/"+token, nil))
		require.Equal(t, http.StatusOK, r.Code, base)
		assert.Contains(t, r.Body.String(), `action="`+want.path+token+`"`, base)
		assert.Contains(t, r.Body.String(), `href="`+want.path+`static/connect.css"`, base)
		cookie, err := http.ParseSetCookie(r.Header().Get("Set-Cookie"))
		require.NoError(t, err)
		assert.Equal(t, want.secure, cookie.Secure, base)
		assert.Equal(t, want.secure, cookie.Name == "__Host-connect-form", base)
		assert.Equal(t, want.secure, r.Header().Get("Strict-Transport-Security") != "", base)
		assert.Contains(t, r.Body.String(), "This service asks for access", base)
	}
}

// TestNoRoute: an unknown path shows a page that says so, and no list of files.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	b := w.Browser(t)
	for _, path := range []string{"/", "/connect/", "/connect/x/y", "/connect/problem/no-such", "/connect/static/nothing.css", "/connect/callback/"} {
		assert.Equal(t, http.StatusNotFound, b.Do(http.MethodGet, w.URL+path, nil, nil).Status, path)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
		assert.GreaterOrEqual(t, b.Do(method, w.URL+"/connect/callback/crm", nil, nil).Status, 400, method)
	}
	assert.NotContains(t, b.Open(w.URL+"/connect/static/").Body, "popup.js")
}

// TestOutcomesAreDocumented: docs/connect.md has a row for each outcome, with the
// page's text.
func TestOutcomesAreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/connect.md")
	require.NoError(t, err)
	for _, o := range perennial.ConnectOutcomes {
		assert.Contains(t, string(doc), "| `"+string(o)+"` | "+perennial.DescribeConnect(o, "HubSpot").Label, o)
	}
}
