package direct

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// whole is a store, keys, apps and sessions that fill every field.
type whole struct {
	Store
	Workflows
	asked connect.SessionRequest
}

func (whole) ForTokenRead(context.Context, string, string) (perennial.Connection, time.Time, error) {
	c := fill.Of[perennial.Connection]()
	c.Status = perennial.StatusReconnectRequired
	return c, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nil
}

func (whole) ReconnectSince(context.Context, perennial.Connection) (time.Time, error) {
	return time.Now(), nil
}

func (whole) Open(seal.Binding, []byte) (perennial.Secret, error) {
	return perennial.NewSecret("token"), nil
}

func (whole) App(string) (provider.App, error) {
	return provider.App{Provider: provider.Entry{Title: "P", RefreshKillsAccessToken: true}}, nil
}

func (w *whole) CreateSession(_ context.Context, req connect.SessionRequest) (connect.Session, error) {
	w.asked = req
	return connect.Session{}, errors.New("it only notes the request")
}

func (w *whole) Session(context.Context, string) (perennial.ConnectSession, error) {
	return perennial.ConnectSession{}, nil
}

// TestCopiesAreWhole: no field is left out between the client and the store.
func TestCopiesAreWhole(t *testing.T) {
	t.Parallel()
	w := &whole{}
	b, err := New(Config{Tenant: "t", Store: w, Keys: w, Workflows: w, Apps: w, Sessions: w,
		Links: func(perennial.Connection) (string, string) { return "reconnect", "help" }})
	require.NoError(t, err)
	state, err := b.Load(t.Context(), "con_1")
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(state))
	assert.Equal(t, []string{"Link"}, fill.Zeros(session(fill.Of[perennial.ConnectSession]())), "the link is shown once, by who made it")

	_, err = b.Connect(t.Context(), fill.Of[client.ConnectRequest]())
	require.Error(t, err)
	assert.Equal(t, []string{"ConnectionID"}, fill.Zeros(w.asked), "a connect")
	_, err = b.Reconnect(t.Context(), "con_1", fill.Of[client.ReconnectRequest]())
	require.Error(t, err)
	assert.Equal(t, []string{"App", "Host"}, fill.Zeros(w.asked), "they are the connection's")
}
