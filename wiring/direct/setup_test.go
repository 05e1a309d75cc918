package direct

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sqlite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "perennial.db") }

// bundle is a backend over a real store. Its workflows and its engine refresh by
// writing the row.
type bundle struct {
	testing.TB
	*Backend
	db       *store.Store
	keyring  *seal.Keyring
	app      provider.App
	service  *connect.Service
	sessions *connect.Sessions
	id       string
	url      string

	mu        sync.Mutex
	refreshes int
	reported  []perennial.RefusalCause
	signalled []string
	missing   bool         // the workflow does not run
	silent    bool         // the workflow does not answer
	sickness  error        // what Temporal returns
	answer    error        // what the workflow returns
	revoked   int          // number of grants that were revoked at the provider
	onTell    func() error // called with each signal; may be nil

	sets    []store.SaveRequest // in the workflow
	setsErr error               // Temporal's answer instead

	calls     atomic.Int64 // to the workflow
	presented atomic.Int64
	result    func(refresh.Request) (refresh.Result, error)
	saved     atomic.Int64
	persisted atomic.Int64
}

func setup(t testing.TB, url string) *bundle {
	t.Helper()
	entry, ok := provider.Lookup("hubspot")
	require.True(t, ok)
	entry.RevokeURL = "" // like a provider without one
	b := &bundle{TB: t, url: url, app: provider.App{Name: "app", Provider: entry, ClientID: "client"}}
	rows, err := db.Open(t.Context(), url, db.Pool{})
	require.NoError(t, err)
	b.db = store.New(rows)
	t.Cleanup(func() { _ = b.db.Close() }) // a test may have closed it
	_, _, err = b.db.Migrate(t.Context())
	require.NoError(t, err)
	b.keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	b.service = connect.New(connect.Config{Store: b.db, Apps: b, Sealer: b.keyring, Workflows: b})
	b.sessions, err = connect.NewSessions(connect.SessionsConfig{Service: b.service, Store: connect.NewSessionStore(rows), BaseURL: "https://connect.example", ReturnURLs: connect.ReturnURLs{"https://app.example"}})
	require.NoError(t, err)
	b.id = b.insert()
	b.Backend = b.of("acme", nil)
	return b
}

func (b *bundle) of(tenant string, e refresh.FallbackEngine) *Backend {
	b.Helper()
	out, err := New(Config{Tenant: tenant, Store: b.db, Keys: b.keyring, Workflows: b, Apps: b, Engine: e, Answer: time.Second,
		Links: func(c perennial.Connection) (string, string) {
			return "https://app.example/" + c.ID, "https://help.example"
		},
		Sessions: b.sessions, Disconnector: &connect.Disconnector{Service: b.service, Keys: b.keyring, Provider: b}})
	require.NoError(b, err)
	return out
}

// revocable is an app whose provider has a revocation endpoint.
const revocable = "books"

func (b *bundle) App(name string) (provider.App, error) {
	switch name {
	case "app":
		return b.app, nil
	case revocable:
		entry, _ := provider.Lookup("quickbooks")
		return provider.App{Name: revocable, Provider: entry, ClientID: "client"}, nil
	}
	return provider.App{}, perennial.Errorf(perennial.CodeNotFound, "there is no app %q", name)
}

// Revoke stands for the provider.
func (b *bundle) Revoke(ctx context.Context, _ provider.App, _ perennial.Secret) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.revoked++
	return nil
}

func (b *bundle) write(c perennial.Connection, generation int64, life time.Duration) store.TokenWrite {
	b.Helper()
	now, err := b.db.Now(context.Background())
	require.NoError(b, err)
	w, err := refresh.Tokens(b.keyring, b.app, c, generation, perennial.TokenSet{
		AccessToken: perennial.NewSecret(fmt.Sprint(clienttest.Secret, "-", generation)), TokenType: "bearer", ExpiresIn: life}, perennial.NewSecret(uuid.NewString()), now)
	require.NoError(b, err)
	return w
}

func (b *bundle) insert() string { b.Helper(); return b.insertTo("app") }

func (b *bundle) insertTo(app string) string {
	b.Helper()
	id := uuid.NewString()
	c := perennial.Connection{ID: id, TenantID: "acme", App: app, Provider: "hubspot", Host: "api.hubapi.com", AccountID: "portal " + id}
	_, err := b.db.Insert(context.Background(), perennial.WorkerAccess(), c, b.write(c, 1, 30*time.Minute))
	require.NoError(b, err)
	return id
}

func (b *bundle) row() perennial.Connection {
	b.Helper()
	c, _, err := b.db.Get(context.Background(), perennial.WorkerAccess(), b.id)
	require.NoError(b, err)
	return c
}

func (b *bundle) renew(life time.Duration) {
	b.Helper()
	c := b.row()
	_, err := b.db.ReplaceTokens(context.Background(), perennial.WorkerAccess(), b.id, "", c.Generation, b.write(c, c.Generation+1, life))
	require.NoError(b, err)
}

func (b *bundle) fixture() clienttest.Fixture {
	bare := b.Config
	bare.Sessions, bare.Disconnector = nil, nil
	without, err := New(bare)
	require.NoError(b, err)
	return clienttest.Fixture{Backend: b.Backend, Other: b.of("other", nil), Bare: func() client.Backend { return without }, ID: b.id,
		App: "app", ReturnURL: "https://app.example/settings", Revocable: b.insertTo(revocable),
		Revoked: func() int { b.mu.Lock(); defer b.mu.Unlock(); return b.revoked },
		Find: func(link perennial.Secret) perennial.ConnectSession {
			v, err := b.sessions.Find(context.Background(), clienttest.TokenOf(link))
			require.NoError(b, err)
			return v.ConnectSession
		},
		Renew: b.renew, Row: b.row,
		SetStatus: func(s perennial.Status, r perennial.Reason) {
			c := b.row()
			_, err := b.db.SetStatus(context.Background(), perennial.WorkerAccess(), b.id, perennial.Statuses, c.Generation, s, r)
			require.NoError(b, err)
		},
		Refreshes: func() int { b.mu.Lock(); defer b.mu.Unlock(); return b.refreshes },
		OutOfReach: func() func() {
			require.NoError(b, b.db.Close())
			return func() {}
		},
	}
}

// RefreshNow stands for the workflow.
func (b *bundle) RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	b.calls.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.silent:
		b.mu.Unlock()
		<-ctx.Done()
		b.mu.Lock()
		return workflows.RefreshNowReply{}, ctx.Err()
	case b.missing:
		return workflows.RefreshNowReply{}, perennial.Errorf(perennial.CodeNotFound, "no workflow runs for connection %s", id)
	case b.answer != nil:
		return workflows.RefreshNowReply{}, b.answer
	}
	b.refreshes++
	if req.Why != "" {
		b.reported = append(b.reported, req.Why)
	}
	if c := b.row(); c.Generation == req.IfGeneration {
		b.renew(30 * time.Minute)
	}
	return workflows.RefreshNowReply{}, nil
}

// Signal stands for the workflow, which runs from then on.
func (b *bundle) Signal(_ context.Context, c perennial.Connection, signal string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missing = false
	b.signalled = append(b.signalled, signal+" "+c.ID+" "+c.TenantID)
	if b.onTell != nil {
		return b.onTell()
	}
	return nil
}

func (b *bundle) Healthy(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sickness
}

func (b *bundle) Sets(_ context.Context, id string) ([]store.SaveRequest, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Equal(b, b.id, id)
	return b.sets, b.setsErr
}

// overdue makes the connection one that nobody has refreshed in time.
func (b *bundle) overdue(column string, ago time.Duration) {
	b.Helper()
	now, err := b.db.Now(context.Background())
	require.NoError(b, err)
	(&dbtest.Database{URL: b.url}).Exec(b.TB.(*testing.T), "UPDATE connections SET "+column+" = '"+now.Add(-ago).UTC().Format("2006-01-02 15:04:05.000")+"+00:00' WHERE id = '"+b.id+"'")
}

// engine is the bundle as an [Engine].
type engine struct{ *bundle }

func (e engine) Refresh(_ context.Context, req refresh.Request) (refresh.Result, error) {
	e.presented.Add(1)
	return e.result(req)
}

func (e engine) Persist(_ context.Context, req store.SaveRequest) (refresh.Result, error) {
	e.persisted.Add(1)
	e.renew(30 * time.Minute)
	return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
}

func (e engine) SaveLater(context.Context, store.SaveRequest) error { e.saved.Add(1); return nil }

// claim opens an attempt, as a refreshing process does.
func (b *bundle) claim() perennial.Connection {
	b.Helper()
	claim, err := b.db.Claim(context.Background(), store.ClaimRequest{ID: b.id, Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "a", Lease: time.Minute, Class: perennial.ReplayUnknown})
	require.NoError(b, err)
	require.Equal(b, store.VerdictClaimed, claim.Verdict)
	return claim.Connection
}

// doubt leaves an attempt whose result is unknown.
func (b *bundle) doubt() {
	b.Helper()
	c := b.claim()
	_, ok, err := b.db.CloseAttempt(context.Background(), store.CloseRequest{ID: b.id, AttemptID: "a", Generation: 1, Digest: c.RefreshTokenDigest, Ambiguous: true,
		Ledger: perennial.Attempt{ID: "a", ConnectionID: b.id, Generation: 1, Trigger: perennial.TriggerTimer, Outcome: perennial.OutcomeUnknown, StartedAt: c.Open.StartedAt}})
	require.NoError(b, err)
	require.True(b, ok)
}
