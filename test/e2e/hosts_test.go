package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/remote"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// accountHost is the token endpoint of one account. Its tokens begin with its name, and
// it fails the test if it gets a refresh token of another account.
type accountHost struct {
	*httptest.Server
	name string

	mu    sync.Mutex
	given int
	form  []string // bodies of the requests
}

func newAccountHost(t *testing.T, name string) *accountHost {
	h := &accountHost{name: name}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.given++
		h.form = append(h.form, string(body))
		if n := h.given; n > 1 {
			assert.Contains(t, string(body), fmt.Sprintf("%s-refresh-%d", name, n-1), "the newest token, at its own host")
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprintf("%s-access-%d", name, h.given), "refresh_token": fmt.Sprintf("%s-refresh-%d", name, h.given),
			"token_type": "bearer", "expires_in": 1800, "refresh_token_expires_in": 86400 * (100 - h.given), "authorization_expires_in": 86400 * (400 - h.given), "scope": "read write",
			"api_domain": h.URL + "/api", "instance_url": h.URL + "/api"})
	}))
	t.Cleanup(h.Close)
	return h
}

// host is its name for the entries: one of this machine, which needs no TLS.
func (h *accountHost) host() string { return strings.TrimPrefix(h.URL, "http://") }

func (h *accountHost) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.given
}

// hostWorld is a Perennial without Temporal: the engine stands in for the workflows.
type hostWorld struct {
	apps   map[string]provider.App
	engine *refresh.Engine
}

func (w *hostWorld) App(name string) (provider.App, error) {
	app, ok := w.apps[name]
	if !ok {
		return app, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", name)
	}
	return app, nil
}

func (w *hostWorld) Signal(context.Context, perennial.Connection, string) error { return nil }

func (w *hostWorld) Healthy(context.Context) error { return nil }

func (w *hostWorld) Sets(context.Context, string) ([]store.SaveRequest, error) { return nil, nil }

func (w *hostWorld) RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	res, err := w.engine.Refresh(ctx, refresh.Request{ConnectionID: id, Generation: req.IfGeneration, Trigger: perennial.TriggerRequest})
	return workflows.RefreshNowReply{Outcome: res.Outcome, Generation: res.Connection.Generation}, err
}

// TestHostForEachAccount: providers that give each account a host of its own. Two accounts
// of one app go through a connect link, a refresh, the HTTP API and both Go clients. Each
// field that depends on the host arrives, and no token goes to the neighbour's host.
func TestHostForEachAccount(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"shopify", "zendesk", "zoho", "salesforce"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostForEachAccount(t, name)
		})
	}
}

func hostForEachAccount(t *testing.T, name string) {
	ctx := t.Context()
	entry, ok := provider.Lookup(name)
	require.True(t, ok)
	require.True(t, entry.HostNeeded())
	for _, u := range []*string{&entry.AuthURL, &entry.TokenURL, &entry.IntrospectURL, &entry.RevokeURL} {
		*u = strings.Replace(*u, "https://", "http://", 1)
	}
	entry.HostSuffixes, entry.Account = nil, provider.AccountSource{From: provider.AccountFromHost}
	entry.RefreshKillsAccessToken = false // else memory answers nothing, and the clients' states differ by their time
	entry.MetadataFields = []string{"api_domain", "instance_url"}

	d := dbtest.New(t, testpg.URL(t))
	rows := store.New(d.DB)
	keys, err := seal.NewEphemeral()
	require.NoError(t, err)
	app := provider.App{Name: "app", Provider: entry, ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret("client-secret-0001")},
		Scopes: []string{"read", "write"}, Buffer: provider.BufferQueue}
	w := &hostWorld{apps: map[string]provider.App{"app": app}}
	network := provider.NewClient(provider.ClientConfig{})
	w.engine = refresh.New(refresh.Config{Store: rows, Presenter: network, Apps: w, Sealer: keys, Timing: timing.Config{ForcedFloor: timing.NoFloor}.WithDefaults()})
	log := slog.New(slog.DiscardHandler)
	service := connect.New(connect.Config{Store: rows, Apps: w, Sealer: keys, Workflows: w, Log: log})
	sessions, err := connect.NewSessions(connect.SessionsConfig{Service: service, Store: connect.NewSessionStore(d.DB), Provider: network, BaseURL: "https://connect.example"})
	require.NoError(t, err)
	over := func(access perennial.Access) (*direct.Backend, error) {
		return direct.New(direct.Config{Access: access, Store: rows, Keys: keys, Workflows: w, Apps: w, Sessions: sessions, Floor: w.engine.Timing.Floor(),
			Links: func(c perennial.Connection) (string, string) {
				return "https://app.example/" + c.ID, "https://help.example"
			}})
	}
	v1, err := api.New(api.Config{Store: rows, Keys: api.NewKeyStore(d.DB), Requests: api.NewRequestStore(d.DB), Connections: service, Disconnects: &connect.Disconnector{Service: service, Keys: keys, Provider: network},
		Webhooks: notify.New(notify.Config{Store: notify.NewStore(d.DB), Sealer: keys, Apps: w, Log: log}), Apps: []provider.App{app}, Sessions: sessions, Log: log,
		Tokens: func(access perennial.Access) (api.Backend, error) { return over(access) }})
	require.NoError(t, err)
	t.Cleanup(v1.Close)
	server := httptest.NewServer(v1)
	t.Cleanup(server.Close)
	k, key := api.NewKey("acme", "test", perennial.ScopeAdmin)
	_, err = api.NewKeyStore(d.DB).Add(ctx, perennial.CommandLineAccess(), k)
	require.NoError(t, err)
	near, err := over(accesstest.Of(t, "acme"))
	require.NoError(t, err)
	far, err := remote.New(remote.Config{URL: server.URL, Key: key})
	require.NoError(t, err)
	clients := map[string]client.Backend{"direct": near, "remote": far}

	// One consent for each account, the links made by one client each.
	hosts := map[string]*accountHost{"direct": newAccountHost(t, "one"), "remote": newAccountHost(t, "two")}
	ids := map[string]string{}
	for by, h := range hosts {
		c, err := client.New(client.Config{Backend: clients[by]})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		made, err := c.Connect(ctx, client.ConnectRequest{App: "app", Host: h.host()})
		require.NoError(t, err)
		link := made.Link.Reveal()
		request, err := sessions.Start(ctx, perennial.NewSecret(link[strings.LastIndex(link, "/")+1:]))
		require.NoError(t, err)
		u, err := url.Parse(request.URL)
		require.NoError(t, err)
		require.Equal(t, h.host(), u.Host, "the consent is asked for at the account's host")
		ended, err := sessions.Answer(ctx, "app", url.Values{"state": {u.Query().Get("state")}, "code": {"code-" + h.name}}, func(string) perennial.Secret { return request.Browser })
		require.NoError(t, err)
		require.Equal(t, perennial.ConnectConnected, ended.Outcome)
		seen, err := c.Session(ctx, made.ID)
		require.NoError(t, err)
		require.Equal(t, client.ConnectSession{ID: made.ID, App: "app", Connection: ended.ResultID, Outcome: perennial.ConnectConnected, ExpiresAt: seen.ExpiresAt}, seen)
		ids[by] = ended.ResultID
	}

	for by, h := range hosts {
		id := ids[by]
		res, err := w.engine.Refresh(ctx, refresh.Request{ConnectionID: id, Generation: 1, Trigger: perennial.TriggerTimer, App: "app"})
		require.NoError(t, err)
		require.Equal(t, perennial.OutcomeRefreshed, res.Outcome, res.Code)
		row, _, err := rows.Get(ctx, perennial.WorkerAccess(), id)
		require.NoError(t, err)
		assert.Equal(t, []string{h.host(), h.host()}, []string{row.Host, row.AccountID})
		assert.WithinDuration(t, time.Now().AddDate(0, 0, 398), row.GrantExpiresAt, time.Hour, "as the refresh said, not as the consent did")
		assert.WithinDuration(t, time.Now().AddDate(0, 0, 98), row.RefreshTokenExpiresAt, time.Hour)
		assert.Equal(t, h.URL+"/api", row.Metadata["api_domain"])

		// The API shows what the row has.
		var shown api.Connection
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/connections/"+id, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+key.Reveal())
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&shown))
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, []any{id, name, row.Host, row.AccountID, row.Scopes, row.Metadata, row.Generation},
			[]any{shown.ID, shown.Provider, shown.Host, shown.AccountID, shown.Scopes, shown.Metadata, shown.Generation})
		for what, times := range map[string][2]time.Time{"expiry": {row.ExpiresAt, shown.ExpiresAt}, "refresh token": {row.RefreshTokenExpiresAt, shown.RefreshTokenExpiresAt},
			"grant": {row.GrantExpiresAt, shown.GrantExpiresAt}, "due": {row.NextRefreshAt, shown.NextRefreshAt}, "refreshed": {row.LastRefreshedAt, shown.LastRefreshedAt}} {
			assert.True(t, times[0].Equal(times[1]), what)
		}

		// Both clients have the same state, and it is this account's.
		near, err := clients["direct"].Load(ctx, id)
		require.NoError(t, err)
		far, err := clients["remote"].Load(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, h.name+"-access-2", far.Access.Reveal())
		near.Now, far.Now = time.Time{}, time.Time{}
		near.TokenType = perennial.TokenTypeBearer
		assert.Equal(t, near, far)
		assert.Equal(t, []string{id, "app", name, entry.Title, row.AccountID}, []string{far.ID, far.App, far.Provider, far.Title, far.Account})
		require.NoError(t, clients[by].Refresh(ctx, id, 2))
		got, err := clients[by].Load(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, h.name+"-access-3", got.Access.Reveal())
		assert.Equal(t, 3, h.requests(), "a consent and two refreshes, all at the account's own host")
	}
}
