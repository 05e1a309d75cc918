package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// connecting is a fake that makes links and ends connections.
type connecting struct {
	*fake
	err        error
	revocation words.Revocation
	outcome    words.ConnectOutcome
	challenges []string
	finished   []FinishRequest
}

func (c *connecting) Connect(_ context.Context, req ConnectRequest) (ConnectSession, error) {
	c.challenges = append(c.challenges, req.Challenge)
	return ConnectSession{ID: "cs_1", Link: words.NewSecret("https://connect.example/connect/" + secret), App: req.App}, c.err
}

func (c *connecting) Reconnect(_ context.Context, id string, req ReconnectRequest) (ConnectSession, error) {
	c.challenges = append(c.challenges, req.Challenge)
	return ConnectSession{ID: "cs_1", Connection: id}, c.err
}

func (c *connecting) Session(_ context.Context, session string) (ConnectSession, error) {
	return ConnectSession{ID: session, Connection: id, Outcome: c.outcome}, c.err
}

func (c *connecting) Disconnect(context.Context, string) (words.Revocation, error) {
	if c.err == nil {
		c.change(func(h *TokenState) { h.Status = words.StatusDisconnected })
	}
	return c.revocation, c.err
}

func connector(t *testing.T) (*bundle, *connecting) {
	t.Helper()
	c := &connecting{}
	b := setup(t, func(config *Config) {
		c.fake = config.Backend.(*fake)
		config.Backend = c
	})
	return b, c
}

// TestLinkIsKept: anybody who has the link can connect an account, so nothing shows it.
func TestLinkIsKept(t *testing.T) {
	t.Parallel()
	b, _ := connector(t)
	s, err := b.Connect(t.Context(), ConnectRequest{App: "crm"})
	require.NoError(t, err)
	assert.Contains(t, s.Link.Reveal(), secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, s), secret)
	}
}

// TestDisconnectForgets: memory has no token of an ended connection.
func TestDisconnectForgets(t *testing.T) {
	t.Parallel()
	b, c := connector(t)
	b.get()
	c.err = errDown
	_, err := b.Disconnect(t.Context(), id)
	require.ErrorAs(t, err, new(*ErrUnavailable))
	b.get()
	c.err, c.revocation = nil, words.RevocationFailed
	r, err := b.Disconnect(t.Context(), id)
	require.NoError(t, err, "what becomes of the grant is no error")
	assert.Equal(t, words.RevocationFailed, r)
	var gone *ErrNotFound
	require.ErrorAs(t, b.fails(), &gone)
	assert.True(t, gone.Disconnected)
}

// TestReconnectIsSeen: a product that knows of the reconnect does not get the old
// grant's token.
func TestReconnectIsSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, c := connector(t)
		ended := func() {
			c.change(func(h *TokenState) { h.Status = words.StatusReconnectRequired })
			time.Sleep(memoryLasts) // until memory expires
			require.Equal(t, words.StatusReconnectRequired, b.get().Status)
			c.change(func(h *TokenState) { h.Status = words.StatusActive })
			c.token(30 * time.Minute)
		}
		ended()
		_, err := b.Session(t.Context(), "cs_1")
		require.NoError(t, err)
		assert.EqualValues(t, 1, b.get().Generation, "nothing came of it yet")
		c.outcome = words.ConnectConnected
		_, err = b.Session(t.Context(), "cs_1")
		require.NoError(t, err)
		assert.EqualValues(t, 2, b.get().Generation)

		ended() // another process learns of it by an event
		time.Sleep(endedLasts)
		assert.EqualValues(t, 3, b.get().Generation)
	})
}

// TestConnectErrors: each error has its own type and says what to do.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	b, c := connector(t)
	calls := map[string]func() error{
		"connect":    func() error { _, err := b.Connect(t.Context(), ConnectRequest{App: "crm"}); return err },
		"reconnect":  func() error { _, err := b.Reconnect(t.Context(), id, ReconnectRequest{}); return err },
		"session":    func() error { _, err := b.Session(t.Context(), "cs_1"); return err },
		"disconnect": func() error { _, err := b.Disconnect(t.Context(), id); return err },
	}
	named := map[string]string{"reconnect": id, "disconnect": id} // the connection that an error names
	for name, call := range calls {
		c.err = nil
		require.NoError(t, call(), name)
		c.err = words.Errorf(words.CodeNotFound, "nothing there")
		var missing *ErrNotFound
		require.ErrorAs(t, call(), &missing, name)
		assert.Equal(t, named[name], missing.Connection, name)
		c.err = words.Errorf(words.CodeInvalid, "connect.base_url is needed")
		var invalid *ErrInvalid
		require.ErrorAs(t, call(), &invalid, name)
		assert.Equal(t, named[name], invalid.Connection, name)
		assert.ErrorContains(t, call(), "connect.base_url is needed", name)
		assert.Equal(t, words.CodeInvalid, words.CodeOf(call()), name)
		for _, err := range []error{errDown, context.DeadlineExceeded, words.Errorf(words.CodeConflict, "moved on")} {
			c.err = err
			var unavailable *ErrUnavailable
			require.ErrorAs(t, call(), &unavailable, name)
			assert.True(t, errors.Is(unavailable, err), name)
			assert.Equal(t, named[name], unavailable.Connection, name)
			assert.WithinDuration(t, time.Now().Add(askAgain), unavailable.RetryAt, time.Minute, name)
			assert.NotContains(t, unavailable.Error(), "access token", name)
		}
	}
	c.err = nil
	_, err := b.Reconnect(t.Context(), "", ReconnectRequest{})
	require.ErrorAs(t, err, new(*ErrNotFound), "no id is no wish for a new connection")

	_, err = setup(t).Connect(t.Context(), ConnectRequest{App: "crm"})
	require.ErrorAs(t, err, new(*ErrInvalid), "a backend that cannot")
}
