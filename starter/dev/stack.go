package dev

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/internal/filelock"
	"github.com/perennial-oauth/perennial/internal/private"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
)

// stack is everything that dev runs.
type stack struct {
	dir       string
	environ   []string
	customize []wiring.Customize
	ready     time.Time // by the database's clock

	provider  *fakeprovider.Server
	http      *http.Server
	temporal  *devserver.Server // nil if TEMPORAL_ADDRESS names a server
	address   string
	ui        string
	deps      *wiring.Deps
	client    client.Client
	converter converter.DataConverter // of the client
	namespace string
	service   *connect.Service
	updates   *connect.Temporal
	sessions  *connect.Sessions
	key       perennial.Secret // API key of the demo's tenant
	worker    *process
	server    *process
	saved     saved
	ids       []string // of the demo connections, in the order of demos
}

// saved is the state that must outlive dev, besides the databases.
type saved struct {
	ProviderPort int `json:"provider_port"`
	TemporalPort int `json:"temporal_port"`
	UIPort       int `json:"ui_port"`
	ServerPort   int `json:"server_port"`
}

// lock makes the state folder and keeps other processes out of it.
func lock(dir string) (*filelock.Lock, error) {
	if err := private.MakeDir("the folder of the demonstration's secrets", filepath.Join(dir, "secrets")); err != nil {
		return nil, folderError(dir, err)
	}
	l, err := filelock.Try(filepath.Join(dir, "lock"), "runs perennial dev")
	if held, taken := errors.AsType[*filelock.HeldError](err); taken {
		return nil, perennial.Errorf(perennial.CodeConflict, "another perennial dev works in %s: stop it, or name another folder with --dir (%w)", dir, held)
	}
	if err != nil {
		return nil, folderError(dir, err)
	}
	return l, nil
}

// open starts everything. On an error it stops what it has started.
func open(ctx context.Context, dir string, environ []string, customize []wiring.Customize, progress io.Writer) (*stack, error) {
	s := &stack{dir: dir, environ: environ, customize: customize}
	if err := s.start(ctx, progress); err != nil {
		return nil, errors.Join(startError(ctx, err), s.close())
	}
	return s, nil
}

func (s *stack) start(ctx context.Context, progress io.Writer) error {
	if err := s.openFolder(ctx); err != nil {
		return folderError(s.dir, err)
	}
	if err := s.openTemporal(ctx, progress); err != nil {
		return err
	}
	var err error
	if s.worker, err = s.launch("worker"); err != nil {
		return err
	}
	if s.server, err = s.launch("server"); err != nil {
		return err
	}
	if err := s.openConnections(ctx); err != nil {
		return err
	}
	if s.key, err = s.openKey(ctx); err != nil {
		return err
	}
	s.ready, err = s.deps.Store.Now(ctx)
	return err
}

// openFolder opens the parts that need only the state folder.
func (s *stack) openFolder(ctx context.Context) error {
	if err := s.restore(); err != nil {
		return err
	}
	if err := s.openProvider(); err != nil {
		return err
	}
	return s.openStore(ctx)
}

func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stack) restore() error {
	raw, err := os.ReadFile(s.path("dev.json"))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("read the state: %w", err)
	default:
		if err := json.Unmarshal(raw, &s.saved); err != nil {
			return fmt.Errorf("read %s: %w", s.path("dev.json"), err)
		}
	}
	return nil
}

func (s *stack) save() error {
	raw, err := json.MarshalIndent(s.saved, "", "  ")
	if err != nil {
		return err
	}
	return s.write("dev.json", raw)
}

// write replaces a file of the state folder atomically.
func (s *stack) write(name string, content []byte) error {
	path := s.path(name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return folderError(s.dir, fmt.Errorf("write %s: %w", path, err))
	}
	return os.Rename(path+".new", path)
}

// openProvider starts the fake provider, on its previous port if that is free.
func (s *stack) openProvider() error {
	if err := s.findPort(&s.saved.ServerPort); err != nil {
		return noPort(err)
	}
	clients := map[string]fakeprovider.Client{}
	for _, app := range []string{"hubspot", "quickbooks", "acme"} {
		path := s.path("secrets/" + app)
		secret, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			secret = []byte(rand.Text())
			err = os.WriteFile(path, secret, 0o600)
		}
		if err != nil {
			return fmt.Errorf("make a client secret: %w", err)
		}
		clients["demo-"+app] = fakeprovider.Client{Secrets: []string{string(secret)}, RedirectURIs: []string{s.serverURL() + "/connect/callback/" + app}}
	}
	var err error
	if s.provider, err = fakeprovider.New(fakeprovider.Config{Clients: clients, StateFile: s.path("provider.json")}); err != nil {
		return err
	}
	l, err := listenAgain(s.saved.ProviderPort)
	if err != nil {
		return noPort(err)
	}
	s.saved.ProviderPort = l.Addr().(*net.TCPAddr).Port
	s.http = &http.Server{Handler: s.provider, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = s.http.Serve(l) }() // close ends it
	return s.save()
}

// serverURL is the base URL of the API and the connect pages.
func (s *stack) serverURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.saved.ServerPort) }

// findPort chooses a port for a process that starts later: the previous one if it is
// free.
func (s *stack) findPort(port *int) error {
	l, err := listenAgain(*port)
	if err != nil {
		return err
	}
	*port = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

func noPort(err error) error {
	return perennial.Errorf(perennial.CodeUnavailable, "no port of this machine is free: %w", err)
}

// listenAgain listens on port if it is free, else on any free port.
func listenAgain(port int) (net.Listener, error) {
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		return l, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// openStore writes the configuration, makes keys and migrates, as a platform team
// would.
func (s *stack) openStore(ctx context.Context) error {
	yaml := fmt.Sprintf(perennialYAML, fmt.Sprintf("http://127.0.0.1:%d", s.saved.ProviderPort), strings.ReplaceAll(s.dir, "'", "''"), s.saved.ServerPort)
	if err := os.WriteFile(s.path("perennial.yaml"), []byte(yaml), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	cfg, err := config.LoadEnviron(s.path("perennial.yaml"), s.ownEnviron())
	if err != nil {
		return damaged(s.dir, err) // dev has just written it, so a file that it names must be damaged
	}
	if err := seal.Generate(cfg.KeysDir, nil, true); err != nil && perennial.CodeOf(err) != perennial.CodeConflict {
		return err
	}
	if err := migrate(ctx, cfg); err != nil {
		return err
	}
	if s.deps, err = wiring.Open(ctx, cfg, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	for _, field := range seal.Fields {
		if !s.deps.Keyring.CanOpen(field) {
			return damaged(s.dir, fmt.Errorf("there is no key for the %s in %s", field, cfg.KeysDir))
		}
	}
	return nil
}

// ownEnviron returns the environment without settings that are meant for a real
// Perennial.
func (s *stack) ownEnviron() []string {
	var own []string
	for _, kv := range s.environ {
		if !strings.HasPrefix(kv, "PERENNIAL_") || strings.HasPrefix(kv, "PERENNIAL_CACHE_DIR=") {
			own = append(own, kv)
		}
	}
	if s.address != "" {
		own = append(own, "TEMPORAL_ADDRESS="+s.address)
	}
	return own
}

func (s *stack) openTemporal(ctx context.Context, progress io.Writer) error {
	for _, kv := range s.environ {
		if v, ok := strings.CutPrefix(kv, "TEMPORAL_ADDRESS="); ok && v != "" {
			s.address = v
		}
	}
	if s.address == "" {
		binary, err := devserver.Path(ctx, progress)
		if err != nil {
			return err
		}
		s.temporal, err = s.startTemporal(ctx, binary)
		if err != nil {
			return folderError(s.dir, err) // the folder also holds Temporal's database
		}
		s.address, s.ui = s.temporal.Address, s.temporal.UI
	}
	var err error
	if s.client, err = wiring.Dial(ctx, s.deps.Config, s.ownEnviron(), s.deps.Log, s.customize...); err != nil {
		return err
	}
	if err := s.openOptions(ctx); err != nil {
		return err
	}
	s.updates = s.deps.Workflows(s.client)
	s.service = s.deps.Connections(s.updates)
	if s.sessions, err = s.deps.Sessions(s.service); err != nil {
		return err
	}
	_, _, err = workflows.Prepare(ctx, s.client, s.namespace, s.deps.Config.TaskQueue, workflows.Sweep{Every: 10 * time.Second, Grace: 5 * time.Second, FullEvery: time.Minute})
	if err != nil {
		return err
	}
	b, err := s.deps.BindingFor(ctx, s.client, s.ownEnviron(), s.customize...)
	if err != nil {
		return err
	}
	f, _, err := b.Setup(ctx)
	if perennial.CodeOf(err) == perennial.CodeConflict { // another demonstration used this Temporal, or this folder another Temporal
		replaces := ""
		if f.Record != nil {
			replaces = f.Record.Database
		}
		_, _, err = b.Adopt(ctx, false, replaces)
	}
	return err
}

func (s *stack) startTemporal(ctx context.Context, binary string) (*devserver.Server, error) {
	o := devserver.Options{Binary: binary, Database: s.path("temporal.db"), Attributes: workflows.AttributeNames(), Log: s.path("temporal.log")}
	for _, p := range []struct{ saved, port *int }{{&s.saved.TemporalPort, &o.Port}, {&s.saved.UIPort, &o.UIPort}} {
		if err := s.findPort(p.saved); err != nil {
			return nil, noPort(err)
		}
		*p.port = *p.saved
	}
	if err := s.save(); err != nil {
		return nil, err
	}
	return devserver.Start(ctx, o)
}

// openOptions finds out what the client uses: the namespace, and how its payloads are
// decoded.
func (s *stack) openOptions(ctx context.Context) error {
	o, err := wiring.ClientOptions(ctx, s.deps.Config, s.ownEnviron(), s.customize...)
	s.namespace = cmp.Or(o.Namespace, client.DefaultNamespace)
	if s.converter = o.DataConverter; s.converter == nil {
		s.converter = converter.GetDefaultDataConverter()
	}
	return err
}

func (s *stack) uiLink() string {
	if s.ui == "" {
		return "(of the server at " + s.address + ")"
	}
	return s.ui + "/namespaces/" + s.namespace + "/workflows"
}

func (s *stack) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	errs := []error{s.stopWorker(ctx), s.server.stop(ctx)}
	if s.client != nil {
		s.client.Close()
	}
	if s.temporal != nil {
		end := s.temporal.Stop
		if s.ready.IsZero() {
			end = s.temporal.Kill // a graceful stop takes seconds, and there is nothing to finish
		}
		errs = append(errs, end())
	}
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	if s.deps != nil {
		s.deps.Close()
	}
	return errors.Join(errs...)
}
