package direct

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture { return setup(t, testpg.URL(t)).fixture() })
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture { return setup(t, sqlite(t)).fixture() })
}

func sqlite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "perennial.db") }

// bundle is a backend over a real store; its workflows and its engine refresh by
// writing the row.
type bundle struct {
	testing.TB
	*Backend
	db      *store.Store
	keyring *seal.Keyring
	app     provider.App
	id      string
	url     string

	mu        sync.Mutex
	refreshes int
	told      []string
	missing   bool  // the workflow does not run
	silent    bool  // and does not answer
	sickness  error // of Temporal
	answer    error // of the workflow

	presented atomic.Int64
	result    func(refresh.Request) (refresh.Result, error)
	kept      atomic.Int64
}

func setup(t testing.TB, url string) *bundle {
	t.Helper()
	entry, ok := provider.Lookup("hubspot")
	require.True(t, ok)
	b := &bundle{TB: t, url: url, app: provider.App{Name: "app", Provider: entry, ClientID: "client"}}
	var err error
	b.db, err = store.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.db.Close() }) // a test may have closed it
	_, _, err = b.db.Migrate(t.Context())
	require.NoError(t, err)
	b.keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	b.id = b.insert()
	b.Backend = b.of("acme", nil)
	return b
}

func (b *bundle) of(tenant string, e Engine) *Backend {
	b.Helper()
	out, err := New(Config{Tenant: tenant, Store: b.db, Keys: b.keyring, Workflows: b, Apps: b, Engine: e, Answer: time.Second,
		Links: func(c perennial.Connection) (string, string) {
			return "https://app.example/" + c.ID, "https://help.example"
		}})
	require.NoError(b, err)
	return out
}

func (b *bundle) App(string) (provider.App, error) { return b.app, nil }

func (b *bundle) write(c perennial.Connection, generation int64, life time.Duration) store.TokenWrite {
	b.Helper()
	now, err := b.db.Now(context.Background())
	require.NoError(b, err)
	w, err := refresh.Tokens(b.keyring, b.app, c, generation, perennial.TokenSet{
		AccessToken: perennial.NewSecret(fmt.Sprint(clienttest.Secret, "-", generation)), TokenType: "bearer", ExpiresIn: life}, perennial.NewSecret(uuid.NewString()), now)
	require.NoError(b, err)
	return w
}

func (b *bundle) insert() string {
	b.Helper()
	id := uuid.NewString()
	c := perennial.Connection{ID: id, TenantID: "acme", App: "app", Provider: "hubspot", Host: "api.hubapi.com", AccountID: "portal " + id}
	_, err := b.db.Insert(context.Background(), c, b.write(c, 1, 30*time.Minute))
	require.NoError(b, err)
	return id
}

func (b *bundle) row() perennial.Connection {
	b.Helper()
	c, _, err := b.db.Get(context.Background(), b.id)
	require.NoError(b, err)
	return c
}

func (b *bundle) renew(life time.Duration) {
	b.Helper()
	c := b.row()
	_, err := b.db.ReplaceTokens(context.Background(), b.id, "", c.Generation, b.write(c, c.Generation+1, life))
	require.NoError(b, err)
}

func (b *bundle) fixture() clienttest.Fixture {
	return clienttest.Fixture{Backend: b.Backend, Other: b.of("other", nil), ID: b.id, Renew: b.renew, Row: b.row,
		SetStatus: func(s perennial.Status, r perennial.Reason) {
			c := b.row()
			_, err := b.db.SetStatus(context.Background(), b.id, perennial.Statuses, c.Generation, s, r)
			require.NoError(b, err)
		},
		Refreshes: func() int { b.mu.Lock(); defer b.mu.Unlock(); return b.refreshes },
		OutOfReach: func() func() {
			require.NoError(b, b.db.Close())
			return func() {}
		},
	}
}

// RefreshNow is the workflow's part.
func (b *bundle) RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
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
	if c := b.row(); c.Generation == req.IfGeneration {
		b.renew(30 * time.Minute)
	}
	return workflows.RefreshNowReply{}, nil
}

// Tell is the workflow's part: it runs from then on.
func (b *bundle) Tell(_ context.Context, c perennial.Connection, signal string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missing = false
	b.told = append(b.told, signal+" "+c.ID+" "+c.TenantID)
	return nil
}

func (b *bundle) Healthy(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sickness
}

// engine is the bundle as an [Engine].
type engine struct{ *bundle }

func (e engine) Refresh(_ context.Context, req refresh.Request) (refresh.Result, error) {
	e.presented.Add(1)
	return e.result(req)
}

func (e engine) Keep(context.Context, store.SaveRequest) error { e.kept.Add(1); return nil }

// TestWorkflowThatDoesNotRun is started first.
func TestWorkflowThatDoesNotRun(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.missing = true
	require.NoError(t, b.Refresh(t.Context(), b.id, 1))
	assert.Equal(t, []string{workflows.SignalNudge + " " + b.id + " acme"}, b.told)
	assert.EqualValues(t, 2, b.row().Generation)
}

// TestBeside: without an answer from Temporal the engine is asked, and only then.
func TestBeside(t *testing.T) {
	t.Parallel()
	refreshed := func(b *bundle) func(refresh.Request) (refresh.Result, error) {
		return func(req refresh.Request) (refresh.Result, error) {
			assert.Equal(t, refresh.Request{ConnectionID: b.id, Generation: 1, Trigger: perennial.TriggerBeside}, req)
			b.renew(30 * time.Minute)
			return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
		}
	}
	for name, c := range map[string]struct {
		change    func(*bundle)
		alone     bool
		presented int64
		ok        bool
		code      perennial.Code
	}{
		"the workflow answers":            {func(b *bundle) {}, false, 0, true, ""},
		"the workflow refuses":            {func(b *bundle) { b.answer = perennial.Errorf(perennial.CodePaused, "paused") }, false, 0, false, perennial.CodePaused},
		"Temporal is away":                {func(b *bundle) { b.silent, b.sickness = true, errors.New("refused") }, false, 1, true, ""},
		"no worker answers":               {func(b *bundle) { b.silent = true }, false, 1, true, ""},
		"Temporal is away, and no engine": {func(b *bundle) { b.silent, b.sickness = true, errors.New("refused") }, true, 0, false, perennial.CodeInternal},
		"a doubt": {func(b *bundle) {
			b.silent, b.sickness = true, errors.New("refused")
			b.doubt()
		}, false, 0, false, perennial.CodeUnavailable},
		"the engine fails": {func(b *bundle) {
			b.silent, b.sickness = true, errors.New("refused")
			b.result = func(refresh.Request) (refresh.Result, error) {
				return refresh.Result{Outcome: perennial.OutcomeRateLimited, Code: "rate_limited"}, nil
			}
		}, false, 1, false, perennial.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, sqlite(t))
			b.result = refreshed(b)
			c.change(b)
			backend := b.of("acme", engine{b})
			if c.alone {
				backend = b.Backend
			}
			err := backend.Refresh(t.Context(), b.id, 1)
			backend.Close()
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			assert.Equal(t, c.presented, b.presented.Load())
			assert.Equal(t, c.ok, b.row().Generation == 2)
		})
	}
}

// doubt leaves an attempt that came to nothing for certain.
func (b *bundle) doubt() {
	b.Helper()
	ctx := context.Background()
	claim, err := b.db.Claim(ctx, store.ClaimRequest{ID: b.id, Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "a", Hold: time.Minute, Class: perennial.ReplayUnknown})
	require.NoError(b, err)
	require.Equal(b, store.VerdictClaimed, claim.Verdict)
	c := claim.Connection
	_, ok, err := b.db.CloseAttempt(ctx, store.CloseRequest{ID: b.id, AttemptID: "a", Generation: 1, Digest: c.RefreshTokenDigest, Ambiguous: true,
		Ledger: perennial.Attempt{ID: "a", ConnectionID: b.id, Generation: 1, Trigger: perennial.TriggerTimer, Outcome: perennial.OutcomeUnknown, StartedAt: c.Open.StartedAt}})
	require.NoError(b, err)
	require.True(b, ok)
}

// TestAnotherProcessIsAtIt: its refresh is waited for, not repeated.
func TestAnotherProcessIsAtIt(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.result = func(refresh.Request) (refresh.Result, error) {
		go func() { b.renew(30 * time.Minute) }()
		return refresh.Result{Outcome: perennial.OutcomeBusy}, nil
	}
	require.NoError(t, b.of("acme", engine{b}).Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 2, b.row().Generation)
}

// TestUnsavedIsKept: no workflow holds what the engine could not store.
func TestUnsavedIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.result = func(refresh.Request) (refresh.Result, error) {
		return refresh.Result{Outcome: perennial.OutcomeRefreshed, Code: refresh.CodeUnsaved, Unsaved: &store.SaveRequest{ID: b.id}}, nil
	}
	backend := b.of("acme", engine{b})
	require.NoError(t, backend.Refresh(t.Context(), b.id, 1))
	backend.Close()
	assert.EqualValues(t, 1, b.kept.Load())
}

func TestReconnectLinks(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.renew(time.Millisecond)
	b.fixture().SetStatus(perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	c, err := client.New(client.Config{Backend: b.Backend})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Token(t.Context(), b.id)
	reconnect := new(client.ErrReconnectRequired)
	require.ErrorAs(t, err, &reconnect)
	assert.Equal(t, "https://app.example/"+b.id, reconnect.ReconnectURL)
	assert.Equal(t, "https://help.example", reconnect.HelpURL)
	assert.Equal(t, perennial.ReasonInvalidGrant, reconnect.Reason)
	assert.Contains(t, err.Error(), "access was removed in HubSpot")
	assert.WithinDuration(t, time.Now(), reconnect.Since, time.Minute)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{})
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	b := setup(t, sqlite(t))
	config := b.Config
	config.Engine = refresh.New(refresh.Config{})
	_, err = New(config)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.Contains(t, err.Error(), "spool")
}

// BenchmarkToken reads tokens of a thousand connections from PostgreSQL, as
// processes do that have none of them in memory.
func BenchmarkToken(b *testing.B) {
	s := setup(b, testpg.URL(b))
	ids := []string{s.id}
	for range 999 {
		ids = append(ids, s.insert())
	}
	// Memory that is over at once: every call reads.
	c, err := client.New(client.Config{Backend: unremembered{s.Backend}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	for _, id := range ids {
		if _, err := c.Token(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	var next atomic.Int64
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Token(b.Context(), ids[next.Add(1)%int64(len(ids))]); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

type unremembered struct{ *Backend }

func (u unremembered) Load(ctx context.Context, id string) (client.Held, error) {
	h, err := u.Backend.Load(ctx, id)
	h.DueAt = h.Now
	return h, err
}
