package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/perennial-oauth/perennial/internal/temporalserver"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
)

// The suite's timing: a production's, shortened in proportion. A lost attempt must be
// found well within the buffer (15 s of a life of 60 s).
const (
	life     = 60 * time.Second
	buffer   = life / 4
	deadline = 10 * time.Second // of an attempt
	started  = 6 * time.Second  // StartToClose
	settings = `timing: {http_timeout: 3500ms, save_timeout: 1500ms, start_to_close: 6s, attempt_deadline: 10s, worker_stop: 11s, confirm_delay: 4s, probe_interval: 3s, pace_for: 8s%s}
sweep: {every: 3s, grace: 2s, full_every: 3s}
`
	// floor is tiny, because the suite asks for new tokens all the time. The release
	// before does not know these settings.
	floor = ", forced_floor: 20ms, forced_floor_max: 200ms"
)

// stack is everything that runs: two PostgreSQL servers, a Temporal server, the fake
// provider, and two workers behind proxies of their own.
type stack struct {
	dir        string
	progress   io.Writer
	pg, pgOf   *pgserver.Server // ours, and Temporal's
	temporal   *temporalserver.Server
	provider   *fakeprovider.Server
	endpoints  map[string]*endpoint // by address
	port       int                  // of the provider
	control    *control
	controlURL string
	binary     string // the worker, with seams
	old        string // the worker of the previous release
	workers    []*worker
	off        string // protections that are switched off
	pace       string // of every app

	cfg     *config.Config
	deps    *wiring.Deps
	client  client.Client
	service *connect.Service
	updates *connect.Temporal
	binding *wiring.Binding
	db      *sql.DB // without the store

	diskFull *small // the file system of the ledger
	undo     []func()
}

// endpoint is the provider at one address.
type endpoint struct {
	address string
	handler http.Handler
	server  *http.Server
}

func (e *endpoint) open() error {
	l, err := net.Listen("tcp", e.address)
	if err != nil {
		return err
	}
	e.server = &http.Server{Handler: e.handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = e.server.Serve(l) }() // ends when it is closed
	return nil
}

func (e *endpoint) close() { _ = e.server.Close() }

const secret = "planted-client-secret-Xy9+/="

func clientOf(app string) string { return "client-" + app }

func start(ctx context.Context, dir, off, pace string, progress io.Writer) (s *stack, err error) {
	book, err := os.Create(filepath.Join(dir, "seams.log"))
	if err != nil {
		return nil, err
	}
	s = &stack{dir: dir, progress: progress, control: newControl(book), endpoints: map[string]*endpoint{}, off: off, pace: pace}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	fmt.Fprintln(progress, "building the worker with seams, starting PostgreSQL twice, Temporal, the fake provider ...")
	s.binary = filepath.Join(dir, "worker")
	if out, err := exec.CommandContext(ctx, "go", "build", "-tags", "faults", "-o", s.binary, "github.com/perennial-oauth/perennial/worker").CombinedOutput(); err != nil {
		return s, fmt.Errorf("build the worker: %w: %s", err, out)
	}
	if err := s.buildOld(ctx); err != nil {
		return s, err
	}
	for _, pg := range []**pgserver.Server{&s.pg, &s.pgOf} {
		if *pg, err = pgserver.Start(""); err != nil {
			return s, err
		}
		server := *pg
		s.undo = append(s.undo, func() { _ = server.Stop(); _ = os.RemoveAll(server.Dir) })
	}
	if s.temporal, err = temporalserver.Start(ctx, s.pgOf, dir, 16, progress); err != nil {
		return s, err
	}
	s.undo = append(s.undo, func() { _ = s.temporal.Kill() })
	if err := s.serveProvider(); err != nil {
		return s, err
	}
	if err := s.database(ctx); err != nil {
		return s, err
	}
	if err := s.configure(ctx); err != nil {
		return s, err
	}
	for _, name := range []string{"a", "b"} {
		w, err := s.newWorker(name)
		if err != nil {
			return s, err
		}
		s.workers = append(s.workers, w)
		w.supervise(true)
	}
	stop := make(chan struct{})
	s.undo = append(s.undo, func() { close(stop) })
	go func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, w := range s.workers {
				if err := w.look(); err != nil {
					fmt.Fprintln(progress, err)
				}
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return s, nil
}

// stop ends everything, in the opposite order.
func (s *stack) stop() {
	for _, w := range s.workers {
		w.end()
	}
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
}

func (s *stack) serveProvider() error {
	clients := map[string]fakeprovider.Client{}
	for _, a := range apps {
		clients[clientOf(a.name)] = fakeprovider.Client{Secrets: []string{secret}}
	}
	var err error
	if s.provider, err = fakeprovider.New(fakeprovider.Config{Clients: clients}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return err
	}
	for i := 1; i <= hosts+1; i++ {
		e := &endpoint{address: fmt.Sprintf("127.0.0.%d:%d", i, s.port), handler: s.provider}
		if err := e.open(); err != nil {
			return err
		}
		s.endpoints[e.address] = e
		s.undo = append(s.undo, e.close)
	}
	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	controls := &http.Server{Handler: s.control, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = controls.Serve(l) }()
	s.undo = append(s.undo, func() { _ = controls.Close() })
	s.controlURL = "http://" + l.Addr().String()
	return nil
}

// database creates our database. Its ledger is on a small file system of its own that
// can be filled.
func (s *stack) database(ctx context.Context) error {
	db, err := store.Open(ctx, s.pg.URL)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := s.exec(s.pg.URL, "CREATE DATABASE perennial"); err != nil {
		return err
	}
	if s.diskFull, err = newSmall(s.dir, "ledger", "256m"); err != nil {
		return err
	}
	s.undo = append(s.undo, s.diskFull.remove)
	space := filepath.Join(s.diskFull.path, "space")
	if err := errors.Join(os.Mkdir(space, 0o700), s.pg.Own(space), s.pg.Own(s.diskFull.path), os.Chmod(s.dir, 0o755)); err != nil {
		return err
	}
	own, err := store.Open(ctx, s.url())
	if err != nil {
		return err
	}
	defer own.Close()
	if _, _, err := own.Migrate(ctx); err != nil {
		return err
	}
	if err := s.exec(s.pg.URL, "CREATE TABLESPACE ledger LOCATION '"+space+"'"); err != nil {
		return err
	}
	return s.exec(s.url(), "ALTER TABLE attempts SET TABLESPACE ledger")
}

// url returns our database's URL, which leads past the proxies.
func (s *stack) url() string {
	return replaceDatabase(s.pg.URL, "perennial")
}

func replaceDatabase(raw, name string) string {
	u, _ := url.Parse(raw) // we made it, so it is valid
	u.Path = "/" + name
	return u.String()
}

func (s *stack) exec(url, statement string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (s *stack) configure(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(s.dir, "secret"), []byte(secret), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(s.file("perennial.yaml"), []byte(s.yaml(nil, floor)), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(s.file(configBefore), []byte(s.yaml(nil, "")), 0o600); err != nil {
		return err
	}
	wrong := map[string]string{"small": "client-of-another-environment"}
	if err := os.WriteFile(s.file("wrong.yaml"), []byte(s.yaml(wrong, floor)), 0o600); err != nil {
		return err
	}
	var err error
	if s.cfg, err = config.LoadEnviron(s.file("perennial.yaml"), s.environ()); err != nil {
		return err
	}
	if err := seal.Generate(s.cfg.KeysDir, nil, true); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if s.deps, err = wiring.Open(ctx, s.cfg, log); err != nil {
		return err
	}
	s.undo = append(s.undo, s.deps.Close)
	if s.client, err = wiring.Dial(ctx, s.cfg, s.environ(), log); err != nil {
		return err
	}
	s.undo = append(s.undo, s.client.Close)
	if s.db, err = sql.Open("pgx", s.url()); err != nil {
		return err
	}
	s.undo = append(s.undo, func() { _ = s.db.Close() })
	if _, err := workflows.Setup(ctx, s.client, "default"); err != nil {
		return err
	}
	if _, err := workflows.SetupSweep(ctx, s.client, s.cfg.TaskQueue, workflows.Sweep(s.cfg.Sweep)); err != nil {
		return err
	}
	binding, err := s.deps.BindingFor(ctx, s.client, s.environ())
	if err != nil {
		return err
	}
	if _, _, err := binding.Setup(ctx); err != nil {
		return err
	}
	s.binding = binding
	s.updates = &connect.Temporal{Client: s.client, TaskQueue: s.cfg.TaskQueue}
	s.service = connect.New(connect.Config{Store: s.deps.Store, Apps: s.cfg, Sealer: s.deps.Keyring, Workflows: s.updates, Log: log})
	return nil
}

func (s *stack) file(name string) string { return filepath.Join(s.dir, name) }

func (s *stack) environ() []string {
	return []string{"TEMPORAL_ADDRESS=" + s.temporal.Address, "PERENNIAL_DATABASE_URL=" + s.url()}
}

// configBefore is the configuration of the release before.
const configBefore = "before.yaml"

// yaml returns the configuration. clients replaces the client ids of some apps, and more
// has further settings of the timing.
func (s *stack) yaml(clients map[string]string, more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "keys: %q\nallow_plaintext_keys: true\ntask_queue: faults\nlisten: 127.0.0.1:0\n"+settings+"apps:\n", s.file("keys"), more)
	for _, a := range apps {
		id := clientOf(a.name)
		if other, ok := clients[a.name]; ok {
			id = other
		}
		host := fmt.Sprintf("127.0.0.1:%d", s.port)
		extra := ""
		if a.hosts {
			host = "{host}"
			var names []string
			for i := 2; i <= hosts+1; i++ {
				names = append(names, fmt.Sprintf("127.0.0.%d", i))
			}
			extra += fmt.Sprintf(", hosts: [%s]", strings.Join(names, ", "))
		}
		if a.limit > 0 {
			extra += fmt.Sprintf(", max_refreshes_per_second: %g", a.limit)
		}
		if a.name == besideApp {
			extra += ", rate_limit_scope: connection"
		}
		extra += ", pace: " + s.pace
		fmt.Fprintf(&b, "  - {name: %s, provider: generic, title: Acme, client_id: %s, client_secret_file: %q, token_url: \"http://%s/token\", auth_style: header, replay_class: %s, grace_window: 10m%s}\n",
			a.name, id, s.file("secret"), host, a.class, extra)
	}
	return b.String()
}
