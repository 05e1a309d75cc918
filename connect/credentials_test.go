package connect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// credentialApps has one app of each kind, at one server.
type credentialApps map[string]provider.App

func (a credentialApps) App(name string) (provider.App, error) { return a[name], nil }

func (credentialApps) Signal(context.Context, perennial.Connection, string) error { return nil }

// TestCredentials: credentials are stored only if the provider gave an access token for
// them, and the error for any others says whose fault that is.
func TestCredentials(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[string]
	status, requests := atomic.Int32{}, atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if _, secret, _ := r.BasicAuth(); secret == "old" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, *answer.Load())
	}))
	defer server.Close()
	say := func(code int, body string) {
		status.Store(int32(code))
		answer.Store(&body)
		requests.Store(0)
	}
	entry := provider.Entry{Name: "acme", Title: "Acme", TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader, ReplayClass: perennial.ReplayReusable, ReplaySource: "x",
		Grant: provider.GrantClientCredentials, Credentials: []string{"tenant"}, Account: provider.AccountSource{From: provider.AccountFromCredentials, Name: "tenant"}}
	own := entry
	own.Credentials = []string{"tenant", "client_secret"}
	apps := credentialApps{
		"apps":     {Name: "apps", Provider: entry, ClientID: "id", ClientSecrets: []perennial.Secret{perennial.NewSecret("old"), perennial.NewSecret("new")}},
		"own":      {Name: "own", Provider: own, ClientID: "id"},
		"consents": {Name: "consents", Provider: provider.Entry{Name: "acme", Title: "Acme", TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader}, ClientID: "id"},
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "p.db"))
	require.NoError(t, err)
	defer db.Close()
	_, _, err = db.Migrate(t.Context())
	require.NoError(t, err)
	keyring, err := seal.NewEphemeral()
	require.NoError(t, err)
	service := connect.New(connect.Config{Store: db, Apps: apps, Sealer: keyring, Workflows: apps, Presenter: provider.NewClient(provider.ClientConfig{})})
	grant := func(app, account, credentials string) connect.Grant {
		return connect.Grant{Tenant: "t", App: app, Account: account, Credentials: perennial.NewSecret(credentials)}
	}
	const tenant, withSecret = `{"tenant":"a1"}`, `{"tenant":"a1","client_secret":"planted"}`
	for _, c := range []struct {
		grant  connect.Grant
		status int
		body   string
		code   perennial.Code
		says   string
		sent   int32
	}{
		{grant("own", "a1", withSecret), 401, `{"error":"invalid_client"}`, perennial.CodeInvalid, "Acme refuses the credentials (invalid_client)", 1},
		{grant("apps", "a1", tenant), 400, `{"error":"invalid_grant","error_description":"x"}`, perennial.CodeInvalid, "refuses the credentials", 2},
		{grant("apps", "a1", tenant), 401, `{"error":"invalid_client"}`, perennial.CodeUnavailable, "refuses the client of app apps", 2},
		{grant("apps", "a1", tenant), 503, ``, perennial.CodeUnavailable, "gave no answer", 2},
		{grant("apps", "a1", tenant), 200, `{"access_token":"x","token_type":"DPoP"}`, perennial.CodeInvalid, "need a proof", 2},
		{grant("apps", "a2", tenant), 200, `{"access_token":"x"}`, perennial.CodeInvalid, "another account", 0},
		{grant("apps", "a1", `{"tenant":`), 200, `{}`, perennial.CodeInvalid, "give a JSON object", 0},
		{grant("consents", "a1", tenant), 200, `{}`, perennial.CodeInvalid, "connects by a consent", 0},
		{connect.Grant{Tenant: "t", App: "apps", Account: "a1", Tokens: perennial.TokenSet{AccessToken: perennial.NewSecret("a"), RefreshToken: perennial.NewSecret("r")}}, 200, `{}`, perennial.CodeInvalid, "give credentials and no tokens", 0},
	} {
		say(c.status, c.body)
		_, err := service.Connect(t.Context(), perennial.WorkerAccess(), c.grant)
		require.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
		assert.ErrorContains(t, err, c.says)
		assert.NotContains(t, err.Error(), "planted")
		assert.Equal(t, c.sent, requests.Load(), c.says)
	}
	rows, err := db.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	require.Empty(t, rows)

	say(200, `{"access_token":"first","expires_in":3600,"refresh_token":"a second way"}`)
	c, err := service.Connect(t.Context(), perennial.WorkerAccess(), grant("own", "a1", withSecret))
	require.NoError(t, err)
	assert.Equal(t, perennial.StatusActive, c.Status)
	assert.True(t, c.Proven())
	assert.WithinDuration(t, time.Now().Add(time.Hour), c.ExpiresAt, time.Minute)
	opened, err := keyring.Open(seal.BindingOf(c, seal.FieldRefreshToken, 1), c.RefreshTokenSealed)
	require.NoError(t, err)
	assert.Contains(t, opened.Reveal(), `"client_secret":"planted"`)
	assert.Equal(t, opened.Digest(), c.RefreshTokenDigest)

	_, err = service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, grant("", "a1", `{"tenant":"a2","client_secret":"x"}`))
	assert.Equal(t, perennial.CodeAccountMismatch, perennial.CodeOf(err))
	c, err = service.Reconnect(t.Context(), perennial.WorkerAccess(), c.ID, grant("", "a1", withSecret))
	require.NoError(t, err)
	assert.EqualValues(t, 2, c.Generation)
	assert.NotEqual(t, opened.Digest(), c.RefreshTokenDigest)

	require.NoError(t, db.StopApp(t.Context(), "own"))
	say(200, `{"access_token":"x"}`)
	_, err = service.Connect(t.Context(), perennial.WorkerAccess(), grant("own", "a1", withSecret))
	assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "stopped")
	assert.Zero(t, requests.Load(), "nothing of a stopped app is presented")

	service.Presenter = nil
	_, err = service.Connect(t.Context(), perennial.WorkerAccess(), grant("own", "a1", withSecret))
	assert.ErrorContains(t, err, "takes no credentials")
}

// TestCredentialsKeepToTheLimit: the request that verifies credentials counts in the app's
// max_refreshes_per_second. Without a place within some seconds nothing is sent.
func TestCredentialsKeepToTheLimit(t *testing.T) {
	t.Parallel()
	var sent []time.Time
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sent = append(sent, time.Now())
		fmt.Fprint(w, `{"access_token":"x","expires_in":3600}`)
	}))
	defer server.Close()
	entry := provider.Entry{Name: "acme", Title: "Acme", TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInHeader, ReplayClass: perennial.ReplayReusable, ReplaySource: "x",
		Grant: provider.GrantClientCredentials, Credentials: []string{"tenant"}, Account: provider.AccountSource{From: provider.AccountFromCredentials, Name: "tenant"}}
	apps := credentialApps{
		"fast": {Name: "fast", Provider: entry, ClientID: "id", MaxRefreshesPerSecond: 4},
		"slow": {Name: "slow", Provider: entry, ClientID: "id", MaxRefreshesPerSecond: 0.01},
	}
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "p.db"))
	require.NoError(t, err)
	defer db.Close()
	_, _, err = db.Migrate(t.Context())
	require.NoError(t, err)
	keyring, err := seal.NewEphemeral()
	require.NoError(t, err)
	service := connect.New(connect.Config{Store: db, Apps: apps, Sealer: keyring, Workflows: apps, Presenter: provider.NewClient(provider.ClientConfig{})})
	add := func(app, account string) error {
		_, err := service.Connect(t.Context(), perennial.WorkerAccess(), connect.Grant{Tenant: "t", App: app, Account: account, Credentials: perennial.NewSecret(`{"tenant":"` + account + `"}`)})
		return err
	}
	for i := range 3 {
		require.NoError(t, add("fast", fmt.Sprint("a", i)))
	}
	require.Len(t, sent, 3)
	assert.GreaterOrEqual(t, sent[2].Sub(sent[0]), 450*time.Millisecond, "three requests at four a second")
	require.NoError(t, add("slow", "a1"))
	err = add("slow", "a2")
	require.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
	assert.ErrorContains(t, err, "max_refreshes_per_second")
	assert.Len(t, sent, 4, "nothing is sent without a place")
}
