package dev

import (
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
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/child"
	"github.com/perennial-oauth/perennial/internal/devserver"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/worker/host"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
)

// stack is everything that dev runs.
type stack struct {
	dir     string
	environ []string
	ready   time.Time // the database's clock

	provider *fakeprovider.Server
	http     *http.Server
	temporal *devserver.Server // nil where TEMPORAL_ADDRESS is honoured
	address  string
	ui       string
	deps     *host.Deps
	client   client.Client
	service  *connect.Service
	updates  *connect.Temporal
	sessions *connect.Sessions
	worker   *process
	server   *process
	saved    saved
	ids      []string // of the demo connections, in their order
}

// saved is what must outlive dev beside the databases.
type saved struct {
	ProviderPort int `json:"provider_port"`
	TemporalPort int `json:"temporal_port"`
	UIPort       int `json:"ui_port"`
	ServerPort   int `json:"server_port"`
	// Consents counts the token sets that came from a consent, by account.
	Consents map[string]int64 `json:"consents"`
}

func lock(dir string) (func(), error) {
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, perennial.Errorf(perennial.CodeConflict, "another perennial dev works in %s: stop it, or name another folder with --dir", dir)
	}
	return func() { _ = f.Close() }, nil // the lock ends with the file
}

// open starts everything; what was started is stopped again on an error.
func open(ctx context.Context, dir string, environ []string, progress io.Writer) (s *stack, err error) {
	s = &stack{dir: dir, environ: environ}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.restore(); err != nil {
		return nil, err
	}
	if err := s.openProvider(); err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := s.openTemporal(ctx, progress); err != nil {
		return nil, err
	}
	if err := s.startWorker(); err != nil {
		return nil, err
	}
	if s.server, err = s.start("server"); err != nil {
		return nil, err
	}
	if err := s.openConnections(ctx); err != nil {
		return nil, err
	}
	if s.ready, err = s.deps.Store.Now(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *stack) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stack) restore() error {
	s.saved.Consents = map[string]int64{}
	raw, err := os.ReadFile(s.path("dev.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s.saved)
	}
	if err != nil {
		return perennial.Errorf(perennial.CodeInvalid, "the state in %s is not readable (%w): delete the folder to begin anew", s.dir, err)
	}
	return nil
}

func (s *stack) save() error {
	raw, err := json.MarshalIndent(s.saved, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("dev.json.new"), raw, 0o600); err != nil {
		return fmt.Errorf("keep the state: %w", err)
	}
	return os.Rename(s.path("dev.json.new"), s.path("dev.json"))
}

// openProvider starts the fake provider, on its old port where that is free.
func (s *stack) openProvider() error {
	if err := s.findPort(&s.saved.ServerPort); err != nil {
		return fmt.Errorf("find a port for the server: %w", err)
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
		return fmt.Errorf("start the fake provider: %w", err)
	}
	s.saved.ProviderPort = l.Addr().(*net.TCPAddr).Port
	s.http = &http.Server{Handler: s.provider, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	go func() { _ = s.http.Serve(l) }() // ends with close
	return s.save()
}

// serverURL is where the API and the connect pages are served.
func (s *stack) serverURL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.saved.ServerPort) }

// findPort keeps a port for a process that is started later, the old one where it
// is free.
func (s *stack) findPort(port *int) error {
	l, err := listenAgain(*port)
	if err != nil {
		return err
	}
	*port = l.Addr().(*net.TCPAddr).Port
	return l.Close()
}

// listenAgain listens on port if it is free, else on any.
func listenAgain(port int) (net.Listener, error) {
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
		return l, nil
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// openStore writes the configuration, makes keys and migrates, as a platform
// team would.
func (s *stack) openStore(ctx context.Context) error {
	yaml := fmt.Sprintf(perennialYAML, fmt.Sprintf("http://127.0.0.1:%d", s.saved.ProviderPort), s.dir, s.saved.ServerPort)
	if err := os.WriteFile(s.path("perennial.yaml"), []byte(yaml), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	cfg, err := config.LoadEnviron(s.path("perennial.yaml"), s.ownEnviron())
	if err != nil {
		return err
	}
	if err := seal.Generate(cfg.KeysDir, nil, true); err != nil && perennial.CodeOf(err) != perennial.CodeConflict {
		return err
	}
	if err := migrate(ctx, cfg); err != nil {
		return err
	}
	s.deps, err = host.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	return err
}

// ownEnviron is the environment without settings that are meant for a real
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
			return err
		}
		s.address, s.ui = s.temporal.Address, s.temporal.UI
	}
	var err error
	if s.client, err = host.Dial(ctx, s.deps.Config, s.ownEnviron(), s.deps.Log); err != nil {
		return err
	}
	s.updates = &connect.Temporal{Client: s.client, TaskQueue: s.deps.Config.TaskQueue}
	s.service = connect.New(connect.Config{Store: s.deps.Store, Apps: s.deps.Config, Sealer: s.deps.Keyring, Workflows: s.updates, Log: s.deps.Log})
	if s.sessions, err = s.deps.Sessions(s.service); err != nil {
		return err
	}
	if _, err = workflows.Setup(ctx, s.client, s.namespace()); err != nil {
		return err
	}
	_, err = workflows.SetupSweep(ctx, s.client, s.deps.Config.TaskQueue, workflows.Sweep{Every: 10 * time.Second, Grace: 5 * time.Second, FullEvery: time.Minute})
	return err
}

func (s *stack) startTemporal(ctx context.Context, binary string) (*devserver.Server, error) {
	o := devserver.Options{Binary: binary, Database: s.path("temporal.db"), Attributes: workflows.AttributeNames(), Log: s.path("temporal.log")}
	for _, p := range []struct{ saved, port *int }{{&s.saved.TemporalPort, &o.Port}, {&s.saved.UIPort, &o.UIPort}} {
		if err := s.findPort(p.saved); err != nil {
			return nil, fmt.Errorf("find a port for Temporal: %w", err)
		}
		*p.port = *p.saved
	}
	if err := s.save(); err != nil {
		return nil, err
	}
	return devserver.Start(ctx, o)
}

func (s *stack) namespace() string {
	for _, kv := range s.environ {
		if v, ok := strings.CutPrefix(kv, "TEMPORAL_NAMESPACE="); ok && v != "" {
			return v
		}
	}
	return client.DefaultNamespace
}

func (s *stack) uiLink() string {
	if s.ui == "" {
		return "(of the server at " + s.address + ")"
	}
	return s.ui + "/namespaces/default/workflows"
}

// process is that of the worker or of the server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (s *stack) startWorker() (err error) {
	s.worker, err = s.start("worker")
	return err
}

// start runs this very program as another: as a worker, so that it can be killed,
// or as a server.
func (s *stack) start(what string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	log, err := os.OpenFile(s.path(what+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of the %s: %w", what, err)
	}
	defer log.Close()
	cmd := exec.Command(self, what, "--config", s.path("perennial.yaml"))
	cmd.Env = s.ownEnviron()
	cmd.Stdout, cmd.Stderr = log, log
	// Of a group of its own: Ctrl-C is for dev, which then stops it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	done, err := child.Start(cmd)
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", what, err)
	}
	return &process{cmd, done}, nil
}

// killWorker kills the worker with SIGKILL and starts another. It returns how
// the first one ended.
func (s *stack) killWorker() (syscall.WaitStatus, error) {
	if err := s.worker.cmd.Process.Kill(); err != nil {
		return 0, fmt.Errorf("kill the worker: %w", err)
	}
	<-s.worker.done
	status := s.worker.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return status, s.startWorker()
}

// stopWorker ends the worker in an orderly way.
func (s *stack) stopWorker(ctx context.Context) error {
	if s.worker == nil {
		return nil
	}
	w := s.worker
	s.worker = nil
	return s.stop(ctx, w, "worker")
}

func (s *stack) stop(ctx context.Context, p *process, what string) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the %s: %w", what, err)
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the %s does not stop; see %s", what, s.path(what+".log"))
	}
}

func (s *stack) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	errs := []error{s.stopWorker(ctx)}
	if s.server != nil {
		errs = append(errs, s.stop(ctx, s.server, "server"))
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.temporal != nil {
		errs = append(errs, s.temporal.Stop())
	}
	if s.http != nil {
		errs = append(errs, s.http.Close())
	}
	if s.deps != nil {
		s.deps.Close()
	}
	return errors.Join(errs...)
}
