package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

// temporal starts one server for all tests of this package. Each test has a task queue
// of its own.
var temporal = sync.OnceValues(func() (*devserver.Server, error) {
	dir, err := os.MkdirTemp("", "perennial-temporal-")
	if err != nil {
		return nil, err
	}
	return startTemporal(dir, 0, 0)
})

func startTemporal(dir string, port, uiPort int) (*devserver.Server, error) {
	binary, err := devserver.Path(context.Background(), os.Stderr)
	if err != nil {
		return nil, err
	}
	return devserver.Start(context.Background(), devserver.Options{Binary: binary, Database: filepath.Join(dir, "temporal.db"),
		Attributes: workflows.AttributeNames(), Log: filepath.Join(dir, "temporal.log"), Port: port, UIPort: uiPort})
}

const (
	clientSecret = "planted-client-secret-Xy9+/="
	clientID     = "planted client"
)

// stack is a complete Perennial for one test.
type stack struct {
	*testing.T
	dir      string
	url      string // of the database
	provider *fakeprovider.Server
	address  string // of Temporal
	path     string // of the configuration
	deps     *wiring.Deps
	client   client.Client
	service  *connect.Service
	updates  *connect.Temporal
	logs     *safeBuffer
	healths  int                       // lines of the log about health checks of workers that have ended
	api      struct{ url, key string } // of a server, see served
	extraEnv []string
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) Bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.b.Bytes())
}

type setting struct {
	url       string // empty: PostgreSQL
	address   string // empty: the shared Temporal server
	class     perennial.ReplayClass
	extra     string             // settings of the app
	links     bool               // customers connect by links, at linkBase
	back      string             // allowed return URL of links; empty: none
	top       string             // settings at the top of the file
	apps      string             // more apps, each a line
	environ   []string           // beside Temporal's address
	customize []wiring.Customize // of the test's own client
	probe     string             // probe_interval; empty: the default
	floor     string             // forced_floor; empty: none, because a test asks for one token after another
}

func sqlite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "perennial.db") }

func setup(t *testing.T, o setting) *stack {
	t.Helper()
	ctx := context.Background()
	s := &stack{T: t, dir: t.TempDir(), url: o.url, address: o.address, logs: &safeBuffer{}, extraEnv: o.environ}
	if s.url == "" {
		s.url = testpg.URL(t)
	}
	if s.address == "" {
		server, err := temporal()
		require.NoError(t, err)
		s.address = server.Address
	}
	if o.class == "" {
		o.class = perennial.ReplayUnknown
	}
	var err error
	s.provider, err = fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{clientID: {Secrets: []string{clientSecret},
		RedirectURIs: []string{linkBase + "/connect/callback/app"}}}})
	require.NoError(t, err)
	server := httptest.NewServer(s.provider)
	t.Cleanup(server.Close)
	if o.links {
		back := "[]"
		if o.back != "" {
			back = fmt.Sprintf("[%q]", o.back)
		}
		o.extra += fmt.Sprintf(`, scopes: [read], auth_url: "%[1]s/authorize", revoke_url: "%[1]s/revoke", account: {from: url, url: "%[1]s/userinfo", name: sub}`, server.URL)
		o.top += fmt.Sprintf("\nconnect: {base_url: %q, reconnect_url: \"https://app.example/{connection_id}\", return_urls: %s, product: SimpleSync}", linkBase, back)
	}

	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "secret"), []byte(clientSecret+"\n"), 0o600))
	s.path = filepath.Join(s.dir, "perennial.yaml")
	require.NoError(t, os.WriteFile(s.path, fmt.Appendf(nil, `
database_url: %q
keys: %q
spool: %q
allow_plaintext_keys: true
task_queue: %q
listen: 127.0.0.1:0
server: {listen: "127.0.0.1:0", health: "127.0.0.1:0"}
log_level: debug
timing: {http_timeout: 3s, save_timeout: 1s, start_to_close: 5s, attempt_deadline: 6s, worker_stop: 7s, confirm_delay: 500ms, pace_for: 5s, probe_interval: %s, forced_floor: %s}
%s
apps:
  - {name: app, provider: generic, title: Acme, client_id: %q, client_secret_file: %q, token_url: %q, auth_style: header, replay_class: %s, grace_window: 10m%s}
%s`, s.url, filepath.Join(s.dir, "keys"), filepath.Join(s.dir, "spool"), t.Name(), cmp.Or(o.probe, "30s"), cmp.Or(o.floor, "0s"), o.top, clientID, filepath.Join(s.dir, "secret"), server.URL+"/token", o.class, o.extra, o.apps), 0o600))
	cfg, err := config.LoadEnviron(s.path, s.environ())
	require.NoError(t, err)
	require.NoError(t, seal.Generate(cfg.KeysDir, nil, true))
	db, err := store.Open(ctx, s.url)
	require.NoError(t, err)
	_, _, err = db.Migrate(ctx)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	log := slog.New(slog.NewJSONHandler(s.logs, nil))
	s.deps, err = wiring.Open(ctx, cfg, log)
	require.NoError(t, err)
	t.Cleanup(s.deps.Close)
	s.client, err = wiring.Dial(ctx, cfg, s.environ(), log, o.customize...)
	require.NoError(t, err)
	t.Cleanup(s.client.Close)
	s.updates = &connect.Temporal{Client: s.client, TaskQueue: cfg.TaskQueue}
	s.service = connect.New(connect.Config{Store: s.deps.Store, Apps: cfg, Sealer: s.deps.Keyring, Workflows: s.updates, Log: log})
	return s
}

func (s *stack) environ() []string {
	return append([]string{"TEMPORAL_ADDRESS=" + s.address}, s.extraEnv...)
}

// work runs the worker program until stop is called. stop waits until it has ended.
func (s *stack) work(customize ...wiring.Customize) (stop func()) {
	s.Helper()
	return s.background(wiring.RunWorker, customize)
}

// background runs a program until stop is called. stop waits until it has ended.
func (s *stack) background(program func(context.Context, []string, []string, io.Writer, ...wiring.Customize) error, customize []wiring.Customize) (stop func()) {
	s.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- program(ctx, []string{"--config", s.path}, s.environ(), s.logs, customize...) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(s, <-done)
	})
	s.Cleanup(stop)
	return stop
}

// consent approves access for an account, with knobs for its tokens.
func (s *stack) consent(account string, k fakeprovider.Knobs) connect.Grant {
	s.Helper()
	_, err := s.provider.Grant(clientID, account)
	require.NoError(s, err)
	require.NoError(s, s.provider.SetKnobs(clientID, account, k))
	at, err := s.deps.Store.Now(context.Background())
	require.NoError(s, err)
	reply, err := s.provider.Grant(clientID, account, "read")
	require.NoError(s, err)
	raw, err := json.Marshal(reply)
	require.NoError(s, err)
	app, err := s.deps.Config.App("app")
	require.NoError(s, err)
	tokens, _, err := provider.ParseTokens(bytes.NewReader(raw), app.Provider)
	require.NoError(s, err)
	return connect.Grant{Tenant: "tenant", App: "app", Account: account, Tokens: tokens, ObtainedAt: at}
}

func (s *stack) connect(account string, k fakeprovider.Knobs) perennial.Connection {
	s.Helper()
	c, err := s.service.Connect(context.Background(), perennial.WorkerAccess(), s.consent(account, k))
	require.NoError(s, err)
	return c
}

func (s *stack) get(id string) perennial.Connection {
	s.Helper()
	c, _, err := s.deps.Store.Get(context.Background(), perennial.WorkerAccess(), id)
	require.NoError(s, err)
	return c
}

const patience = 40 * time.Second

// until waits until the row is as wanted.
func (s *stack) until(id, what string, wanted func(perennial.Connection) bool) perennial.Connection {
	s.Helper()
	var c perennial.Connection
	s.eventually(what, func() bool { c = s.get(id); return wanted(c) })
	return c
}

func (s *stack) eventually(what string, ok func() bool) {
	s.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(s, "never: "+what)
		}
	}
}

func generation(n int64) func(perennial.Connection) bool {
	return func(c perennial.Connection) bool { return c.Generation >= n }
}

func status(want perennial.Status) func(perennial.Connection) bool {
	return func(c perennial.Connection) bool { return c.Status == want }
}

func (s *stack) oracle(account string) fakeprovider.GrantOracle {
	s.Helper()
	for _, g := range s.provider.Oracle().Grants {
		if g.Account == account {
			return g
		}
	}
	require.FailNow(s, "the provider knows no grant of "+account)
	return fakeprovider.GrantOracle{}
}
