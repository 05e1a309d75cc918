package api_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener knows the read deadline that was set last on any of its connections.
type listener struct {
	net.Listener
	last atomic.Pointer[time.Time]
}

// deadline is the read deadline in force; zero: none.
func (l *listener) deadline() time.Time {
	if t := l.last.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{c, l}, nil
}

type conn struct {
	net.Conn
	of *listener
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.of.last.Store(&t)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.of.last.Store(&t)
	return c.Conn.SetDeadline(t)
}

// watched calls during in the middle of a refresh.
type watched struct {
	client.Backend
	during func()
}

func (w watched) Refresh(ctx ctx, id string, generation int64) error {
	w.during()
	return w.Backend.Refresh(ctx, id, generation)
}

// TestSlowAnswer: while a refresh is waited for, up to 25 s, no read deadline is in
// force. One that passes ends the context of that request, and of every later one
// of its connection.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &listener{Listener: tcp}
	seen := 0
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) {
		tokens := c.Tokens
		c.Tokens = func(tenant string) (client.Backend, error) {
			b, err := tokens(tenant)
			return watched{b, func() { seen++; assert.Zero(t, l.deadline()) }}, err
		}
	})
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	id := w.Connect("acme").ID
	server := httptest.NewUnstartedServer(w.API)
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Config.ReadTimeout = time.Minute
	server.Start()
	t.Cleanup(server.Close)
	for i, r := range []struct{ method, rest, body string }{
		{"POST", "/refresh", `{"if_generation": 1}`}, {"POST", "/refresh", ""}, {"GET", "/token?if_generation=2", ""},
	} {
		w.Exec("UPDATE connections SET last_refreshed_at = now() - interval '10 minutes'")
		req, err := http.NewRequestWithContext(t.Context(), r.method, server.URL+"/v1/connections/"+id+r.rest, strings.NewReader(r.body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		answer, err := server.Client().Do(req)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, 200, answer.StatusCode, r.rest)
		assert.Equal(t, i+1, seen, r.rest)
	}
}
