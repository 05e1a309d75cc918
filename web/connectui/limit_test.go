package connectui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	. "github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/web/connectui"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lookups counts the database look-ups of links and states.
type lookups struct{ found, lists atomic.Int64 }

func (l *lookups) count(statement, _ string) {
	switch {
	case strings.Contains(statement, "WHERE link_digest"), strings.Contains(statement, "WHERE state_digest ="):
		l.found.Add(1)
	case strings.HasPrefix(statement, "SELECT link_digest"):
		l.lists.Add(1)
	}
}

// TestGuessedLinks: an address that tries many links causes few look-ups, and customers
// at the same address still get their pages.
func TestGuessedLinks(t *testing.T) {
	t.Parallel()
	w := New(t, nil)
	db := &lookups{}
	dbtest.OnStatement(t, w.DB, db.count)
	sessions, err := connect.NewSessions(connect.SessionsConfig{Service: w.Service, Store: w.SessionRows, BaseURL: "https://example.com"})
	require.NoError(t, err)
	h, err := connectui.New(connectui.Config{Sessions: sessions, Failures: 5})
	require.NoError(t, err)
	s, err := sessions.CreateSession(t.Context(), perennial.CommandLineAccess(), connect.SessionRequest{Tenant: Tenant, App: CRM})
	require.NoError(t, err)
	token := s.Link.Reveal()[len(s.Link.Reveal())-46:]
	begun, err := sessions.Start(t.Context(), perennial.NewSecret(token))
	require.NoError(t, err)
	at, err := url.Parse(begun.URL)
	require.NoError(t, err)
	state := at.Query().Get("state")
	require.NotEmpty(t, state)
	before := db.found.Load()

	open := func(from, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", "198.51.100.9")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer
	}
	const nat = "[2001:db8:1:2::1]:1"
	for i := range 100 {
		path := "/connect/cl_" + strings.Repeat("A", 42) + string("ABCDEFGHIJ"[i%10])
		if i%2 == 1 {
			path = "/connect/callback/crm?code=x&state=guess" + path[len(path)-1:]
		}
		answer := open("[2001:db8:1:2:ffff::7]:9", path)
		if i < 5 {
			require.NotEqual(t, http.StatusTooManyRequests, answer.Code, i)
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, answer.Code, i)
		require.NotEmpty(t, answer.Header().Get("Retry-After"))
		require.Contains(t, answer.Body.String(), "Wait a minute")
	}
	assert.EqualValues(t, 5, db.found.Load()-before)
	assert.NotZero(t, db.lists.Load())
	assert.Less(t, db.lists.Load(), int64(50), "at most each three seconds")
	assert.Equal(t, http.StatusOK, open(nat, "/connect/"+token).Code, "a customer of the same network")
	answer := open(nat, "/connect/callback/crm?code=x&state="+url.QueryEscape(state))
	assert.Equal(t, "/connect/problem/browser", answer.Header().Get("Location"), "a state that there is")
	assert.Equal(t, http.StatusNotFound, open("192.0.2.1:1", "/connect/cl_"+strings.Repeat("B", 43)).Code, "another address")
	assert.Equal(t, http.StatusOK, open(nat, "/connect/static/connect.css").Code)

	found := db.found.Load()
	for _, path := range []string{"/connect/x", "/connect/cl_short", "/connect/cl_%FF" + strings.Repeat("A", 42)} {
		assert.Equal(t, http.StatusNotFound, open("192.0.2.2:1", path).Code, path)
	}
	assert.Equal(t, found, db.found.Load(), "what is no link is not looked up")
}
