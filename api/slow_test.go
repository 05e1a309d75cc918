package api_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener accepts connections that know their current read deadline.
type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

type conn struct {
	net.Conn
	last atomic.Pointer[time.Time]
}

// deadline returns the current read deadline; zero: none.
func (c *conn) deadline() time.Time {
	if t := c.last.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.last.Store(&t)
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) SetDeadline(t time.Time) error {
	c.last.Store(&t)
	return c.Conn.SetDeadline(t)
}

// connKey is the context key of the *conn of a request.
type connKey struct{}

// watched calls during in the middle of a refresh, with the request's connection.
type watched struct {
	api.Backend
	during func(*conn)
}

func (w watched) Refresh(ctx ctx, id string, generation int64) error {
	w.during(ctx.Value(connKey{}).(*conn))
	return w.Backend.Refresh(ctx, id, generation)
}

// TestSlowAnswer: while a caller waits up to 25 s for a refresh, there is no read
// deadline. A passing one would end the context of that request, and of every later
// request on its connection.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	seen := 0
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) {
		tokens := c.Tokens
		c.Tokens = func(access perennial.Access) (api.Backend, error) {
			b, err := tokens(access)
			return watched{b, func(c *conn) { seen++; assert.Zero(t, c.deadline()) }}, err
		}
	})
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	id := w.Connect("acme").ID
	server := httptest.NewUnstartedServer(w.API)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener{tcp}
	server.Config.ReadTimeout = time.Minute
	server.Config.ConnContext = func(ctx ctx, c net.Conn) ctx { return context.WithValue(ctx, connKey{}, c) }
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
