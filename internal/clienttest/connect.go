package clienttest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TokenOf returns the last part of a link, by which the page finds its session.
func TokenOf(link perennial.Secret) perennial.Secret {
	whole := link.Reveal()
	return perennial.NewSecret(whole[strings.LastIndex(whole, "/")+1:])
}

// missing has ids that no connection has.
var missing = []string{"", ".", "..", "../apps", "a/b", "con_nothing", "a b?c#d%", strings.Repeat("x", 500)}

func testConnect(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	made, err := c.Connect(t.Context(), client.ConnectRequest{App: f.App, ReturnURL: f.ReturnURL, TenantTitle: "Acme Inc.", Scopes: []string{"contacts", "deals"},
		Mode: perennial.ConnectPopup, Lifetime: 2*time.Hour - time.Millisecond})
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", made, made, made), TokenOf(made.Link).Reveal())
	found := f.Find(made.Link)
	assert.Equal(t, found.ID, made.ID)
	assert.Equal(t, f.App, found.App)
	assert.Equal(t, f.Row().TenantID, found.TenantID)
	assert.Equal(t, "Acme Inc.", found.TenantTitle)
	assert.Equal(t, f.ReturnURL, found.ReturnURL)
	assert.Equal(t, perennial.ConnectPopup, found.Mode)
	assert.Equal(t, []string{"contacts", "deals"}, found.Scopes)
	assert.Equal(t, 2*time.Hour, found.ExpiresAt.Sub(found.CreatedAt))
	assert.Equal(t, client.ConnectSession{ID: found.ID, Link: made.Link, App: f.App, ExpiresAt: found.ExpiresAt}, made)

	later, err := c.Session(t.Context(), made.ID)
	require.NoError(t, err)
	made.Link = perennial.Secret{}
	assert.Equal(t, made, later)
	_, err = over(t, f.Other).Session(t.Context(), made.ID)
	assert.ErrorAs(t, err, new(*client.ErrNotFound), "another tenant's")
	for _, id := range missing {
		_, err = c.Session(t.Context(), id)
		assert.ErrorAs(t, err, new(*client.ErrNotFound), id)
	}
	plain, err := c.Connect(t.Context(), client.ConnectRequest{App: f.App})
	require.NoError(t, err)
	assert.NotEqual(t, made.ID, plain.ID)
	assert.Equal(t, perennial.ConnectPage, f.Find(plain.Link).Mode)
}

func testReconnect(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	for _, status := range []perennial.Status{perennial.StatusActive, perennial.StatusReconnectRequired, perennial.StatusDisconnected} {
		f.SetStatus(status, perennial.ReasonNone)
		made, err := c.Reconnect(t.Context(), f.ID, client.ReconnectRequest{ReturnURL: f.ReturnURL, TenantTitle: "Acme Inc.", Lifetime: time.Minute})
		require.NoError(t, err, status)
		found := f.Find(made.Link)
		assert.Equal(t, f.ID, found.ConnectionID)
		assert.Equal(t, "Acme Inc.", found.TenantTitle)
		assert.Equal(t, f.ReturnURL, found.ReturnURL)
		assert.Equal(t, client.ConnectSession{ID: found.ID, Link: made.Link, App: f.Row().App, Connection: f.ID, ExpiresAt: found.ExpiresAt}, made)
	}
	_, others := over(t, f.Other).Reconnect(t.Context(), f.ID, client.ReconnectRequest{})
	require.ErrorAs(t, others, new(*client.ErrNotFound))
	for _, id := range missing {
		_, err := c.Reconnect(t.Context(), id, client.ReconnectRequest{})
		gone := new(client.ErrNotFound)
		require.ErrorAs(t, err, &gone, id)
		assert.Equal(t, client.ErrNotFound{Connection: id}, *gone)
	}
}

// finishOf returns a request that no session accepts.
func finishOf(session string) client.FinishRequest {
	return client.FinishRequest{Session: session, Code: perennial.NewSecret("fc_x"), Verifier: perennial.NewSecret(strings.Repeat("v", 43))}
}

// testBound: a bound session is its user's and its tenant's alone. Consents are in the
// tests of the pages.
func testBound(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	made, verifier, err := c.ConnectBound(t.Context(), client.ConnectRequest{App: f.App, ReturnURL: f.ReturnURL})
	require.NoError(t, err)
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", verifier, verifier, verifier), verifier.Reveal())
	assert.True(t, f.Find(made.Link).Bound())
	again, _, err := c.ReconnectBound(t.Context(), f.ID, client.ReconnectRequest{ReturnURL: f.ReturnURL})
	require.NoError(t, err)
	assert.True(t, f.Find(again.Link).Bound())
	for _, id := range []string{made.ID, again.ID} {
		_, err = c.Finish(t.Context(), client.FinishRequest{Session: id, Code: perennial.NewSecret("fc_x"), Verifier: verifier})
		other := new(client.ErrOtherUser)
		require.ErrorAs(t, err, &other)
		assert.Equal(t, id, other.Session)
		_, err = over(t, f.Other).Finish(t.Context(), finishOf(id))
		require.ErrorAs(t, err, new(*client.ErrNotFound), "another tenant's")
	}
	for _, id := range missing {
		_, err = c.Finish(t.Context(), finishOf(id))
		assert.ErrorAs(t, err, new(*client.ErrNotFound), id)
	}
	_, _, err = c.ConnectBound(t.Context(), client.ConnectRequest{App: f.App})
	require.ErrorAs(t, err, new(*client.ErrInvalid), "its code needs a return URL")
	plain, err := c.Connect(t.Context(), client.ConnectRequest{App: f.App})
	require.NoError(t, err)
	assert.False(t, f.Find(plain.Link).Bound())
	_, err = c.Finish(t.Context(), finishOf(plain.ID))
	require.ErrorAs(t, err, new(*client.ErrInvalid), "there is nothing to finish")
}

func testInvalidLinks(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	for name, change := range map[string]func(*client.ConnectRequest){
		"no app":                     func(r *client.ConnectRequest) { r.App = "" },
		"no such app":                func(r *client.ConnectRequest) { r.App = "erp" },
		"a foreign return URL":       func(r *client.ConnectRequest) { r.ReturnURL = "https://evil.example/" },
		"a popup without return URL": func(r *client.ConnectRequest) { r.Mode, r.ReturnURL = perennial.ConnectPopup, "" },
		"no such mode":               func(r *client.ConnectRequest) { r.Mode = "tab" },
		"too short a life":           func(r *client.ConnectRequest) { r.Lifetime = time.Millisecond },
		"too long a life":            func(r *client.ConnectRequest) { r.Lifetime = 24*time.Hour + 1 },
		"a negative life":            func(r *client.ConnectRequest) { r.Lifetime = -time.Hour },
		"no scope":                   func(r *client.ConnectRequest) { r.Scopes = []string{"two words"} },
		"a title of two lines":       func(r *client.ConnectRequest) { r.TenantTitle = "Acme\nInc." },
		"too long a title":           func(r *client.ConnectRequest) { r.TenantTitle = strings.Repeat("x", 101) },
	} {
		req := client.ConnectRequest{App: f.App, ReturnURL: f.ReturnURL}
		change(&req)
		_, err := c.Connect(t.Context(), req)
		wrong := new(client.ErrInvalid)
		require.ErrorAs(t, err, &wrong, name)
		assert.NotEmpty(t, wrong.Message, name)
		assert.NotContains(t, err.Error(), "evil", name)
		if !strings.Contains(name, "app") {
			_, err = c.Reconnect(t.Context(), f.ID, client.ReconnectRequest{ReturnURL: req.ReturnURL, Scopes: req.Scopes, Mode: req.Mode, TenantTitle: req.TenantTitle, Lifetime: req.Lifetime})
			assert.ErrorAs(t, err, new(*client.ErrInvalid), name)
		}
	}
	bare := over(t, f.Bare())
	_, connect := bare.Connect(t.Context(), client.ConnectRequest{App: f.App})
	_, reconnect := bare.Reconnect(t.Context(), f.ID, client.ReconnectRequest{})
	_, session := bare.Session(t.Context(), "cs_1")
	_, finish := bare.Finish(t.Context(), finishOf("cs_1"))
	for _, err := range []error{connect, reconnect, session, finish} {
		require.ErrorAs(t, err, new(*client.ErrInvalid))
		assert.ErrorContains(t, err, "connect.base_url", "it says what to configure")
	}
}

func testDisconnect(t *testing.T, f Fixture) {
	_, err := over(t, f.Other).Disconnect(t.Context(), f.ID)
	require.ErrorAs(t, err, new(*client.ErrNotFound))
	require.Equal(t, perennial.StatusActive, f.Row().Status, "another tenant's is left alone")

	c := over(t, f.Backend)
	f.Renew(time.Hour)
	_, err = c.Token(t.Context(), f.ID)
	require.NoError(t, err)
	r, err := c.Disconnect(t.Context(), f.ID)
	require.NoError(t, err)
	assert.Equal(t, perennial.RevocationUnsupported, r)
	assert.Equal(t, perennial.StatusDisconnected, f.Row().Status)
	_, err = c.Token(t.Context(), f.ID)
	gone := new(client.ErrNotFound)
	require.ErrorAs(t, err, &gone, "memory does not answer for it")
	assert.Equal(t, client.ErrNotFound{Connection: f.ID, Disconnected: true}, *gone)

	r, err = c.Disconnect(t.Context(), f.ID)
	require.NoError(t, err, "it has ended already")
	assert.Equal(t, perennial.RevocationNone, r)
	for _, id := range missing {
		_, err = c.Disconnect(t.Context(), id)
		gone := new(client.ErrNotFound)
		require.ErrorAs(t, err, &gone, id)
		assert.Equal(t, client.ErrNotFound{Connection: id}, *gone)
	}
}

func testRevoke(t *testing.T, f Fixture) {
	c := over(t, f.Backend)
	r, err := c.Disconnect(t.Context(), f.Revocable)
	require.NoError(t, err)
	assert.Equal(t, perennial.RevocationDone, r)
	assert.Equal(t, 1, f.Revoked())
	r, err = c.Disconnect(t.Context(), f.Revocable)
	require.NoError(t, err)
	assert.Equal(t, perennial.RevocationNone, r)
	assert.Equal(t, 1, f.Revoked(), "it is asked once")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Connect(cancelled, client.ConnectRequest{App: f.App})
	require.ErrorIs(t, err, context.Canceled)
}

// connectorErrors calls every method of a client and returns the errors.
func connectorErrors(t *testing.T, c *client.Client, f Fixture) map[string]error {
	_, connect := c.Connect(t.Context(), client.ConnectRequest{App: f.App})
	_, reconnect := c.Reconnect(t.Context(), f.ID, client.ReconnectRequest{})
	_, session := c.Session(t.Context(), "cs_1")
	_, finish := c.Finish(t.Context(), finishOf("cs_1"))
	_, disconnect := c.Disconnect(t.Context(), f.ID)
	return map[string]error{"connect": connect, "reconnect": reconnect, "session": session, "finish": finish, "disconnect": disconnect}
}
