package direct

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// whole is a store, keys, apps and sessions that fill every field.
type whole struct {
	Store
	Workflows
	refresh.FallbackEngine
	asked  connect.SessionRequest
	finish connect.FinishRequest
}

func (w whole) Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	return w.ForTokenRead(ctx, access, id)
}

func (whole) ForTokenRead(context.Context, perennial.Access, string) (perennial.Connection, time.Time, error) {
	c := fill.Of[perennial.Connection]()
	c.Status = perennial.StatusReconnectRequired
	return c, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), nil
}

func (whole) ReconnectSince(context.Context, perennial.Access, perennial.Connection) (time.Time, error) {
	return time.Now(), nil
}

func (whole) Open(seal.Binding, []byte) (perennial.Secret, error) {
	return perennial.NewSecret("token"), nil
}

func (whole) App(name string) (provider.App, error) {
	if name != "app" {
		return provider.App{}, errors.New("there is no other")
	}
	return provider.App{Provider: provider.Entry{Title: "P", RefreshKillsAccessToken: true, API: fill.Of[resource.Server]()}}, nil
}

func (w *whole) CreateSession(_ context.Context, _ perennial.Access, req connect.SessionRequest) (connect.Session, error) {
	w.asked = req
	return connect.Session{ConnectSession: fill.Of[perennial.ConnectSession](), Link: perennial.NewSecret("link")}, nil
}

func (w *whole) FinishBound(_ context.Context, _ perennial.Access, req connect.FinishRequest) (perennial.ConnectSession, error) {
	w.finish = req
	return fill.Of[perennial.ConnectSession](), nil
}

func (w *whole) Session(context.Context, perennial.Access, string) (perennial.ConnectSession, error) {
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
	assert.Equal(t, []string{"ForcedAt"}, fill.Zeros(state), "callers have no tokens refreshed that only the customer can renew")
	for _, without := range []string{"ConnectionID", "ResultID"} {
		c := fill.Of[perennial.ConnectSession]()
		fill.Clear(&c, without)
		assert.Equal(t, []string{"Link"}, fill.Zeros(session(c)), "the link is shown once, by who made it")
	}

	made, err := b.Connect(t.Context(), fill.Of[client.ConnectRequest]())
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(made))
	assert.Equal(t, []string{"ConnectionID"}, fill.Zeros(w.asked), "a connect")
	_, err = b.Reconnect(t.Context(), "con_1", fill.Of[client.ReconnectRequest]())
	require.NoError(t, err)
	assert.Equal(t, []string{"App", "Host"}, fill.Zeros(w.asked), "they are the connection's")
	_, err = b.Finish(t.Context(), client.FinishRequest{Session: "cs_1", Code: perennial.NewSecret("code"), Verifier: perennial.NewSecret("verifier")})
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(w.finish))
}

// TestRefreshIsWhole: the refresh in this process has all that it works with. An error about
// a generation says which connection and generation it is about.
func TestRefreshIsWhole(t *testing.T) {
	t.Parallel()
	w := &whole{}
	b, err := New(Config{Tenant: "t", Store: w, Keys: w, Workflows: w, Apps: w, Engine: w})
	require.NoError(t, err)
	assert.Empty(t, fill.Zeros(b.fallback()))
	row := fill.Of[perennial.Connection]()
	for _, err := range []error{b.Refresh(t.Context(), "con_1", row.Generation+1), b.refreshHere(t.Context(), "con_1", row.Generation+1)} {
		ahead, ok := errors.AsType[*perennial.GenerationAheadError](err)
		require.True(t, ok, err)
		assert.Empty(t, fill.Zeros(ahead))
	}
}

// TestTitleOfAnUnknownApp: its customers see the provider's name.
func TestTitleOfAnUnknownApp(t *testing.T) {
	t.Parallel()
	w := &whole{}
	b, err := New(Config{Tenant: "t", Store: otherApp{w}, Keys: w, Workflows: w, Apps: w})
	require.NoError(t, err)
	state, err := b.Load(t.Context(), "con_1")
	require.NoError(t, err)
	assert.Equal(t, []string{"ReconnectURL", "HelpURL", "ForcedAt", "KillsAccess", "API"}, fill.Zeros(state))
}

// otherApp is a store whose rows have an app that left the configuration.
type otherApp struct{ *whole }

func (o otherApp) ForTokenRead(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	c, now, err := o.whole.ForTokenRead(ctx, access, id)
	c.App = "left"
	return c, now, err
}
