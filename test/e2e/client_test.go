package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// short is for a token whose refresh 200 goroutines wait for.
var short = fakeprovider.Knobs{LifetimeSeconds: 20, Rotate: true, LatencyBeforeMS: 1000}

// backends runs a test with both backends of the client: beside the store, where the
// processes have engines, and over the HTTP API, where they have its address.
func backends(t *testing.T, run func(t *testing.T, o productOrder)) {
	t.Parallel()
	t.Run("direct", func(t *testing.T) { t.Parallel(); run(t, productOrder{Engine: true}) })
	t.Run("remote", func(t *testing.T) { t.Parallel(); run(t, productOrder{Remote: true}) })
}

// TestProductOneRequest: 200 goroutines in 4 processes ask for a token that is
// expiring, while its own timer is due too. There is one request.
func TestProductOneRequest(t *testing.T) {
	backends(t, func(t *testing.T, o productOrder) {
		s := setup(t, setting{})
		c := s.connect("a1", short)
		o.ID, o.Want, o.Engine = c.ID, 2, false
		p := s.products(o)
		<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C // MinTTL for this life
		p.begin()
		s.work() // late: the timer is due, and all goroutines ask
		p.end()
		assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
		assert.EqualValues(t, 2, s.get(c.ID).Generation)
		assert.NotZero(t, s.get(c.ID).LastUsedAt)
	})
}

// TestProductWithoutWorker: no worker answers.
func TestProductWithoutWorker(t *testing.T) {
	backends(t, func(t *testing.T, o productOrder) {
		s := setup(t, setting{})
		c := s.connect("a1", short)
		o.ID, o.Want = c.ID, 2
		p := s.products(o)
		<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
		p.begin()
		p.end()
		assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
		s.work() // the workflow finds the refresh done
		_, err := s.updates.RefreshNow(t.Context(), c.ID, workflows.RefreshNow{IfGeneration: c.Generation})
		require.NoError(t, err)
		assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	})
}

// TestProductWithoutTemporal: Temporal is stopped before the token expires.
func TestProductWithoutTemporal(t *testing.T) {
	backends(t, func(t *testing.T, o productOrder) {
		server, err := startTemporal(t.TempDir(), 0, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = server.Kill() })
		s := setup(t, setting{address: server.Address})
		c := s.connect("a1", short)
		o.ID, o.Want = c.ID, 2
		p := s.products(o)
		require.NoError(t, server.Kill())
		<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
		p.begin()
		p.end()
		assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	})
}

// TestProductWithoutDatabase stops the database while a worker and Temporal run. The
// token is used until it expires, and no longer. Nothing is presented while nothing can
// be stored. When the database is back, there is one refresh for all.
func TestProductWithoutDatabase(t *testing.T) {
	backends(t, func(t *testing.T, o productOrder) {
		pg, err := pgserver.Start("")
		require.NoError(t, err)
		t.Cleanup(func() { _ = pg.Stop() })
		s := setup(t, setting{url: pg.URL})
		s.work()
		long := short
		long.LifetimeSeconds = 40 // stopped before a quarter is left and the timer is due
		c := s.connect("a1", long)
		o.ID = c.ID
		p := s.products(o)
		require.NoError(t, pg.Stop())
		require.True(t, time.Now().Before(c.NextRefreshAt), "the machine was too slow to stop it in time")
		<-time.NewTimer(time.Until(c.ExpiresAt) - 3*time.Second).C
		p.begin()
		sum := p.end()
		assert.Less(t, sum.LeastLeft, 3*time.Second, "served to the end")
		assert.Zero(t, s.provider.Oracle().TokenRequests)

		require.NoError(t, pg.Run())
		o.Want = 2
		again := s.products(o)
		again.begin()
		again.end()
		assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
		assert.Equal(t, perennial.StatusActive, s.get(c.ID).Status)
	})
}

// TestProductWithNothing stops both Temporal and the database. The token is used until
// it expires, and no longer. When the database is back, the processes refresh without
// Temporal.
func TestProductWithNothing(t *testing.T) {
	t.Parallel()
	server, err := startTemporal(t.TempDir(), 0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Kill() })
	pg, err := pgserver.Start("")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pg.Stop() })
	s := setup(t, setting{address: server.Address, url: pg.URL})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID, Engine: true})
	require.NoError(t, server.Kill())
	require.NoError(t, pg.Stop())
	require.Greater(t, time.Until(c.ExpiresAt), 2*time.Second, "the machine was too slow to stop them in time")
	p.begin()
	sum := p.end()
	assert.Less(t, sum.LeastLeft, 2*time.Second, "served to the end")
	assert.Zero(t, s.provider.Oracle().TokenRequests)

	require.NoError(t, pg.Run())
	again := s.products(productOrder{ID: c.ID, Want: 2, Engine: true})
	again.begin()
	again.end()
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	assert.Equal(t, perennial.StatusActive, s.get(c.ID).Status)
}

// TestProductAlone has no engine and no worker. The last token is used until it
// expires; then every call returns an error that says to try again.
func TestProductAlone(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	c := s.connect("a1", short)
	p := s.products(productOrder{ID: c.ID})
	<-time.NewTimer(time.Until(c.ExpiresAt) - 2*time.Second).C
	p.begin()
	sum := p.end()
	assert.Equal(t, 200, sum.Unavailable)
	assert.Less(t, sum.LeastLeft, 2*time.Second, "served to the end")
	assert.Zero(t, s.provider.Oracle().TokenRequests)
}

// TestProductHTTP sends requests with a token whose provider states a wrong life: the
// provider refuses it long before. Each write is made at most once, by the provider's
// books.
func TestProductHTTP(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	const lies = 3 * time.Second
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: lies.Seconds() - 0.1, ExpiresIn: "1800", Rotate: true})
	backend, err := direct.New(direct.Config{Tenant: "tenant", Store: s.deps.Store, Keys: s.deps.Keyring,
		Workflows: direct.Temporal(s.client, s.deps.Config.TaskQueue), Apps: s.deps.Config, Floor: s.deps.Config.Timing.Floor()})
	require.NoError(t, err)
	using, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log})
	require.NoError(t, err)
	t.Cleanup(using.Close)
	app, err := s.deps.Config.App("app")
	require.NoError(t, err)
	api := strings.TrimSuffix(app.Provider.TokenURL, "/token") + "/api/"
	send := func(method, path, key string) (int, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, api+path, strings.NewReader("body"))
		require.NoError(t, err)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := using.HTTPClient(c.ID).Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	status, err := send(http.MethodPost, "first", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	<-time.NewTimer(lies).C // the provider's token is dead
	status, err = send(http.MethodPost, "keyed", "k1")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status, "renewed, and sent again")
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
	assert.NotZero(t, s.get(c.ID).LastUnauthorizedAt)
	<-time.NewTimer(lies).C
	status, err = send(http.MethodPost, "plain", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusUnauthorized, status, "not sent again")
	s.eventually("the token is too old to be unknown to the API", func() bool {
		_, err := send(http.MethodGet, "ping", "")
		require.Error(t, err)
		return errors.As(err, new(*tokens.ErrStillUnauthorized)) // a provider that lies so is not refreshed at every request
	})
	assert.EqualValues(t, 2, s.get(c.ID).Generation)
	assert.Equal(t, []string{"POST /api/first ", "POST /api/keyed k1"}, s.oracle("a1").Writes)

	require.NoError(t, s.provider.Revoke(clientID, "a1"))
	other, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log}) // another process
	require.NoError(t, err)
	t.Cleanup(other.Close)
	using = other
	s.eventually("the customer is asked to reconnect", func() bool {
		_, err := send(http.MethodGet, "ping", "")
		var reconnect *tokens.ErrReconnectRequired
		return errors.As(err, &reconnect) && reconnect.Reason == perennial.ReasonInvalidGrant && !reconnect.Since.IsZero()
	})
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
	assert.NotContains(t, string(s.logs.Bytes()), "fat_", "every access token begins so")
}
