package neighbours

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/oauth2"
)

// life is the life of an access token. It is renewed 120 s before its end, a quarter of
// its life, so each connection is due once in six minutes: in 355 s, see
// timing.DueAfter.
const life = 8 * time.Minute

// appName is the app of a cell.
const appName = "app"

// world is the fleet of some apps with everything around it, in a bubble.
type world struct {
	ctx      context.Context
	end      func()
	apps     map[string]provider.App
	endpoint *tokenEndpoint
	timing   timing.Config
	keys     *seal.Keyring
	raw      *sql.DB
	workers  []*worker
	stop     chan struct{} // closed: the workers stop

	mu        sync.Mutex
	flows     map[string]*flow
	releasing map[string]bool // by app
	all       sync.WaitGroup
	slow      sync.WaitGroup // see activities.Pacer
}

// worker is one process: it has a memory of its own.
type worker struct {
	store  clocked
	engine *refresh.Engine
}

// workersOfAWorld: most fleets have more than one, and a fact that one remembers the other does
// not.
const workersOfAWorld = 2

// newWorld opens the database of [database] in a bubble. The apps differ in their pacers.
// Until [world.start] nothing moves. The caller must call close.
func newWorld(t *testing.T, at string, pacers map[string]int) *world {
	t.Helper()
	w := &world{endpoint: newEndpoint(life), timing: timing.Config{}.WithDefaults(), flows: map[string]*flow{}, stop: make(chan struct{}),
		apps: map[string]provider.App{}, releasing: map[string]bool{}}
	for name, n := range pacers {
		w.apps[name] = provider.App{Name: name, ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret("secret")}, Buffer: provider.BufferQueue, Pacers: n,
			Provider: provider.Entry{Name: "generic", Title: "the provider", TokenURL: "https://id.example.com/token", AuthStyle: oauth2.AuthStyleInParams,
				ReplayClass: perennial.ReplayUnknown, RateLimitScope: provider.ScopeConnection}}
	}
	w.ctx, w.end = context.WithCancel(t.Context())
	var err error
	w.keys, err = seal.NewEphemeral()
	require.NoError(t, err)
	w.raw, err = sql.Open("pgx", at)
	require.NoError(t, err)
	w.raw.SetMaxOpenConns(1)
	move := &clock{sql: w.raw}
	move.move(t.Context())
	for range workersOfAWorld {
		s, err := store.Open(t.Context(), at)
		require.NoError(t, err)
		c := clocked{s, move}
		w.workers = append(w.workers, &worker{store: c, engine: refresh.New(refresh.Config{Store: c, Apps: w, Sealer: w.keys, Timing: w.timing,
			Presenter: provider.NewClient(provider.ClientConfig{Transport: w.endpoint})})})
	}
	return w
}

// App implements refresh.Apps.
func (w *world) App(name string) (provider.App, error) {
	app, ok := w.apps[name]
	if !ok {
		return app, fmt.Errorf("no app %q", name)
	}
	return app, nil
}

// close ends everything in the bubble.
func (w *world) close(t *testing.T) {
	close(w.stop)
	w.end()
	w.all.Wait()
	w.slow.Wait()
	for _, one := range w.workers {
		require.NoError(t, one.store.Close())
	}
	require.NoError(t, w.raw.Close())
}

// add connects an account through an app. Its token set was asked for at start.
func (w *world) add(t *testing.T, app, id, tenant string, start time.Time, unproven bool) {
	t.Helper()
	c := perennial.Connection{ID: id, TenantID: tenant, App: app, Provider: "generic", Host: "id.example.com", AccountID: id}
	set := perennial.TokenSet{AccessToken: perennial.NewSecret("A"), RefreshToken: perennial.NewSecret(id + " 1"), ExpiresIn: life, TokenType: perennial.TokenTypeBearer}
	write, err := refresh.Tokens(w.keys, w.apps[app], c, 1, set, set.RefreshToken, start)
	require.NoError(t, err)
	write.Unproven = unproven
	_, err = w.workers[0].store.Insert(t.Context(), perennial.WorkerAccess(), c, write)
	require.NoError(t, err)
}

// start starts the workflows of these connections, the pacers, the sweep and the release.
// The workflows of the healthy connections of a pooled app sleep until somebody nudges
// them: leave them out.
func (w *world) start(ids []string) {
	w.mu.Lock()
	for _, id := range ids {
		w.nudge(id)
	}
	w.mu.Unlock()
	for _, app := range w.apps {
		for n := range app.Pacers {
			w.all.Go(func() { w.pace(app, n) })
		}
	}
	w.all.Go(w.sweep)
	w.all.Go(func() { w.every(time.Second, func() { _ = w.startRelease(w.ctx) }) }) // as each worker does
}

// every calls do again and again until the world ends.
func (w *world) every(d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-w.ctx.Done():
			return
		}
	}
}

// activityEnv returns an environment for one activity that stops with the workers.
func (w *world) activityEnv(register any) *testsuite.TestActivityEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerStopChannel(w.stop)
	env.SetTestTimeout(24 * time.Hour)
	env.RegisterActivity(register)
	return env
}

// pace is a pacer's workflow: one activity after another.
func (w *world) pace(app provider.App, n int) {
	from := w.workers[n%len(w.workers)]
	p := &activities.Pacer{Engine: from.engine, Store: from.store, Workflows: w, Apps: w, Timing: w.timing, Slow: &w.slow}
	var beat int64
	for w.ctx.Err() == nil {
		v, err := w.activityEnv(p).ExecuteActivity(p.Pace, activities.PaceRequest{App: app.Name, N: n, Of: app.Pacers, For: w.timing.PaceFor, Beat: beat})
		var out activities.PaceResult
		if err == nil {
			err = v.Get(&out)
		}
		if err != nil {
			time.Sleep(time.Second)
			continue
		}
		beat = max(beat, out.Beat)
	}
}

// Unsaved is part of activities.Workflows. No cell loses its database.
func (w *world) Unsaved(context.Context, perennial.Connection, store.SaveRequest) error {
	return fmt.Errorf("nothing takes a token set here")
}

// The default schedule of the sweep.
const (
	sweepEvery = time.Minute
	sweepGrace = 30 * time.Second
	sweepAll   = 10
	retention  = 90 * 24 * time.Hour
)

func (w *world) sweep() {
	from := w.workers[0]
	s := &activities.Sweeper{Store: from.store, Workflows: w, StartRelease: w.startRelease, Prune: []func(context.Context, time.Duration, int) (int64, error){from.store.Prune}}
	passes := 0
	w.every(sweepEvery, func() {
		passes++
		// The next pass is soon: an error, as when the world ends, changes nothing.
		_, _ = w.activityEnv(s).ExecuteActivity(s.Sweep, activities.SweepRequest{Grace: sweepGrace, Full: passes%sweepAll == 0, Retention: retention})
	})
}

// startRelease starts the release of each app that has one, unless it runs.
func (w *world) startRelease(ctx context.Context) error {
	from := w.workers[1]
	apps, err := from.store.ReleasingApps(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, app := range apps {
		if w.releasing[app] || w.ctx.Err() != nil {
			continue
		}
		w.releasing[app] = true
		w.all.Go(func() {
			r := &activities.Releaser{Store: from.store, Workflows: w, Apps: w}
			_, _ = w.activityEnv(r).ExecuteActivity(r.Release, app) // the next look finds what is left
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.releasing, app)
		})
	}
	return nil
}
