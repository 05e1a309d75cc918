// Package apitest is an HTTP API over a real store, for tests. Its workflows refresh by
// writing the row. A test can search everything that was logged or answered for what
// must not be there.
package apitest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/require"
)

// World is one API with everything behind it.
type World struct {
	testing.TB
	DB          *db.DB
	Store       *store.Store
	Keys        *api.KeyStore
	Webhooks    *notify.Store
	SessionRows *connect.SessionStore
	Keyring     *seal.Keyring
	Apps        []provider.App
	Sessions    *connect.Sessions
	API         *api.API
	Server      *httptest.Server // started by the first call of URL

	Logs Buffer

	url    string
	direct *sql.DB

	mu        sync.Mutex
	refreshes int
	reported  []perennial.RefusalCause
	revoked   []string
	answer    error // what the workflows return
	signalled []string
	untold    error // what a signal to them returns
	observed  []Observed
}

// Observed is one request that the API reported to its observer.
type Observed struct {
	Operation, Code string
	Status          int
}

// Buffer is a log that several goroutines write.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// App is the app of each connection of a world. Revocable is an app whose provider has
// a revocation endpoint.
const (
	App       = "crm"
	Revocable = "books"
	// ReturnURL is an allowed return URL.
	ReturnURL = "https://app.example/"
)

// New migrates the database at url and returns an API over it. The functions in more
// may change its configuration.
func New(t testing.TB, url string, more ...func(*api.Config)) *World {
	t.Helper()
	w := &World{TB: t, url: url}
	for name, of := range map[string]string{App: "hubspot", Revocable: "quickbooks"} {
		entry, ok := provider.Lookup(of)
		require.True(t, ok)
		if name == App {
			entry.RevokeURL = ""
		}
		w.Apps = append(w.Apps, provider.App{Name: name, Provider: entry, ClientID: "client of " + name, Scopes: []string{"contacts"}})
	}
	var err error
	w.DB, err = db.Open(t.Context(), url, db.Pool{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.DB.Close() }) // a test may have closed it
	_, _, err = w.DB.Migrate(t.Context())
	require.NoError(t, err)
	w.Store, w.Keys, w.Webhooks, w.SessionRows = store.New(w.DB), api.NewKeyStore(w.DB), notify.NewStore(w.DB), connect.NewSessionStore(w.DB)
	w.Keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	log := slog.New(slog.NewJSONHandler(&w.Logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	service := connect.New(connect.Config{Store: w.Store, Apps: w, Sealer: w.Keyring, Workflows: w, Log: log})
	w.Sessions, err = connect.NewSessions(connect.SessionsConfig{Service: service, Store: w.SessionRows, Provider: provider.NewClient(provider.ClientConfig{}),
		BaseURL: "https://connect.example", ReturnURLs: connect.ReturnURLs{ReturnURL}})
	require.NoError(t, err)
	c := api.Config{Store: w.Store, Keys: w.Keys, Requests: api.NewRequestStore(w.DB), Connections: service, Disconnects: &connect.Disconnector{Service: service, Keys: w.Keyring, Provider: w},
		Webhooks: notify.New(notify.Config{Store: w.Webhooks, Sealer: w.Keyring, Apps: w, Log: log}), Tokens: w.Backend, Apps: w.Apps, Sessions: w.Sessions,
		Rate: 1e6, Failures: 1e6, Log: log, Observer: w}
	for _, change := range more {
		change(&c)
	}
	w.API, err = api.New(c)
	require.NoError(t, err)
	t.Cleanup(w.API.Close)
	return w
}

// Backend returns what the API calls for the tokens that an access reaches.
func (w *World) Backend(access perennial.Access) (api.Backend, error) {
	return direct.New(direct.Config{Access: access, Store: w.Store, Keys: w.Keyring, Workflows: w, Apps: w, Answer: time.Second,
		Links: func(c perennial.Connection) (string, string) {
			return "https://app.example/" + c.ID, "https://help.example"
		}})
}

// URL returns the address of a server of the API.
func (w *World) URL() string {
	w.Helper()
	if w.Server == nil {
		w.Server = httptest.NewServer(w.API)
		w.Cleanup(w.Server.Close)
	}
	return w.Server.URL
}

// Key makes an API key of a tenant.
func (w *World) Key(tenant string, scopes ...perennial.Scope) (perennial.APIKey, string) {
	w.Helper()
	k, whole := api.NewKey(tenant, w.Name(), scopes...)
	k, err := w.Keys.Add(context.Background(), perennial.CommandLineAccess(), k)
	require.NoError(w, err)
	return k, whole.Reveal()
}

// Connect stores a connection of a tenant to [App] at generation 1, with the token
// "<clienttest.Secret>-1".
func (w *World) Connect(tenant string) perennial.Connection {
	w.Helper()
	return w.ConnectTo(App, tenant)
}

// ConnectTo stores such a connection to the app called name.
func (w *World) ConnectTo(name, tenant string) perennial.Connection {
	w.Helper()
	app, err := w.App(name)
	require.NoError(w, err)
	id := "con_" + uuid.NewString()
	c := perennial.Connection{ID: id, TenantID: tenant, App: name, Provider: app.Provider.Name, AccountID: "portal " + id}
	c, err = w.Store.Insert(context.Background(), perennial.WorkerAccess(), c, w.write(c, 1, 30*time.Minute))
	require.NoError(w, err)
	return c
}

// Row returns a connection as it is now.
func (w *World) Row(id string) perennial.Connection {
	w.Helper()
	c, _, err := w.Store.Get(context.Background(), perennial.WorkerAccess(), id)
	require.NoError(w, err)
	return c
}

// Renew stores the next generation.
func (w *World) Renew(id string, life time.Duration) {
	w.Helper()
	c := w.Row(id)
	_, err := w.Store.ReplaceTokens(context.Background(), perennial.WorkerAccess(), id, "", c.Generation, w.write(c, c.Generation+1, life))
	require.NoError(w, err)
}

// SetStatus changes a connection's status, as other programs do.
func (w *World) SetStatus(id string, s perennial.Status, r perennial.Reason) {
	w.Helper()
	c := w.Row(id)
	_, err := w.Store.SetStatus(context.Background(), perennial.WorkerAccess(), id, perennial.Statuses, c.Generation, s, r)
	require.NoError(w, err)
}

// RefreshSecret begins every refresh token.
const RefreshSecret = "planted-refresh-token"

func (w *World) write(c perennial.Connection, generation int64, life time.Duration) store.TokenWrite {
	w.Helper()
	now, err := w.Store.Now(context.Background())
	require.NoError(w, err)
	app, err := w.App(c.App)
	require.NoError(w, err)
	set := perennial.TokenSet{AccessToken: perennial.NewSecret(fmt.Sprint(clienttest.Secret, "-", generation)), TokenType: "bearer", ExpiresIn: life}
	out, err := refresh.Tokens(w.Keyring, app, c, generation, set, perennial.NewSecret(RefreshSecret+uuid.NewString()), now)
	require.NoError(w, err)
	return out
}

// App implements refresh.Apps.
func (w *World) App(name string) (provider.App, error) {
	for _, app := range w.Apps {
		if app.Name == name {
			return app, nil
		}
	}
	return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "no app %s", name)
}

// RefreshNow stands for the workflow: it refreshes by writing the row.
func (w *World) RefreshNow(_ context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.answer != nil {
		return workflows.RefreshNowReply{}, w.answer
	}
	w.refreshes++
	if req.Why != "" {
		w.reported = append(w.reported, req.Why)
	}
	if c := w.Row(id); c.Generation == req.IfGeneration {
		w.Renew(id, 30*time.Minute)
	}
	return workflows.RefreshNowReply{}, nil
}

// Signal stands for the workflow: it records the signal.
func (w *World) Signal(_ context.Context, c perennial.Connection, signal string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.signalled = append(w.signalled, signal+" "+c.ID)
	return w.untold
}

// Healthy implements direct.Workflows.
func (w *World) Healthy(context.Context) error { return nil }

// Sets implements direct.Workflows.
func (w *World) Sets(context.Context, string) ([]store.SaveRequest, error) { return nil, nil }

// Revoke stands for the provider.
func (w *World) Revoke(_ context.Context, _ provider.App, token perennial.Secret) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = append(w.revoked, token.Reveal())
	return w.answer
}

// Request implements api.Observer.
func (w *World) Request(operation string, status int, code string, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed = append(w.observed, Observed{operation, code, status})
}

// Reported returns what products reported to the workflows.
func (w *World) Reported() []perennial.RefusalCause {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reported
}

// Refreshes returns how many refreshes reached the workflows, Revoked the tokens that
// the provider was asked to revoke, Told the signals to the workflows, and Observed the
// requests that the observer received.
func (w *World) Refreshes() int { w.mu.Lock(); defer w.mu.Unlock(); return w.refreshes }
func (w *World) Revoked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.revoked...)
}
func (w *World) Signalled() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.signalled...)
}
func (w *World) Counted() []Observed {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Observed(nil), w.observed...)
}
func (w *World) Answer(err error)     { w.mu.Lock(); defer w.mu.Unlock(); w.answer = err }
func (w *World) FailToTell(err error) { w.mu.Lock(); defer w.mu.Unlock(); w.untold = err }

// Do makes one request to the API in this process.
func (w *World) Do(key, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, bytes.NewReader([]byte(body)))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	out := httptest.NewRecorder()
	w.API.ServeHTTP(out, r)
	return out
}

var _ http.Handler = (*api.API)(nil)

// Exec runs a statement without the store.
func (w *World) Exec(statement string) {
	w.Helper()
	_, err := w.past().ExecContext(context.Background(), statement)
	require.NoError(w, err)
}

// Dump returns everything in a table, as text.
func (w *World) Dump(table string) string {
	w.Helper()
	rows, err := w.past().QueryContext(context.Background(), "SELECT t::text FROM "+table+" t")
	require.NoError(w, err)
	defer rows.Close()
	var all strings.Builder
	for rows.Next() {
		var line string
		require.NoError(w, rows.Scan(&line))
		fmt.Fprintln(&all, line)
	}
	require.NoError(w, rows.Err())
	return all.String()
}

// Now returns the database's time.
func (w *World) Now() time.Time {
	w.Helper()
	now, err := w.Store.Now(context.Background())
	require.NoError(w, err)
	return now
}

func (w *World) past() *sql.DB {
	w.Helper()
	if w.direct == nil {
		db, err := sql.Open("pgx", w.url)
		require.NoError(w, err)
		w.Cleanup(func() { _ = db.Close() })
		w.direct = db
	}
	return w.direct
}

// Take returns what was written since the last call.
func (b *Buffer) Take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.buf.Reset()
	return b.buf.String()
}
