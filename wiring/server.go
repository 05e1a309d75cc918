package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/prometheus/client_golang/prometheus"
	temporal "go.temporal.io/sdk/client"
)

// DrainTimeout is how long a stopping server waits for running requests. It exceeds the
// longest request; the platform's grace must exceed it.
const DrainTimeout = 40 * time.Second

// RunServer reads the configuration, checks it against the real servers and files, and
// serves until ctx ends. Then it accepts no new request, waits for the running ones,
// and returns nil. environ is in the form of os.Environ. It writes its log to logs. It
// dials Temporal with customize; see [Dial].
func RunServer(ctx context.Context, args, environ []string, logs io.Writer, customize ...Customize) error {
	deps, err := openFor(ctx, "server", args, environ, logs)
	if err != nil {
		return err
	}
	defer deps.Close()
	cfg, log := deps.Config, deps.Log
	for _, field := range seal.Fields {
		if !deps.Keyring.CanOpen(field) {
			return perennial.Errorf(perennial.CodeInvalid, "a server needs both keysets, and %q has none for the %s", cfg.KeysDir, field)
		}
	}
	if err := deps.OpenSpool(); err != nil {
		return err
	}
	t, err := Dial(ctx, cfg, environ, log, customize...)
	if err != nil {
		return err
	}
	defer t.Close()

	registry := prometheus.NewRegistry()
	metrics.RegisterProcess(registry)
	binding, err := deps.Bind(ctx, t, customize...)
	if err != nil {
		return err
	}
	tokens := &tokens{deps: deps, temporal: t}
	defer tokens.close() // after the API, before the store
	if deps.Spool != nil {
		engineConfig := deps.EngineConfig()
		engineConfig.Observer = metrics.New(registry)
		tokens.engine = refresh.New(engineConfig)
		stopStoring := StoreUnsaved(ctx, tokens.engine, log)
		defer stopStoring()
	}
	service := deps.Connections(deps.Workflows(t))
	links, err := openLinks(ctx, deps, service)
	if err != nil {
		return err
	}
	defer links.close()
	v1, err := api.New(apiConfig(deps, service, links, tokens, metrics.NewAPI(registry)))
	if err != nil {
		return err
	}
	defer v1.Close()
	mux := http.NewServeMux()
	mux.Handle("/", v1) // it answers by itself for paths that it does not have
	mux.Handle(PagesPath, links.pages)
	mux.HandleFunc("GET "+PagesPath+"client/{app}", deps.clientDocument)

	health, err := ServeHealth(cfg.Server.Health, deps, t, registry)
	if err != nil {
		return err
	}
	s, err := listen(cfg.Server, mux, log)
	if err != nil {
		return errors.Join(err, health.Close())
	}
	stopPruning := pruning(ctx, deps, log)
	defer stopPruning()
	stopDiscovering := inBackground(ctx, deps.discover)
	defer stopDiscovering()
	stopReporting := deps.Report(ctx, KindServer)
	defer stopReporting()
	health.Started()
	log.Info("server started", "build", version.Get(), "address", s.address(), "tls", cfg.Server.TLSCert != "", "health", health.Address(), "apps", len(cfg.Apps), "refreshes_without_temporal", tokens.engine != nil)
	var lost error
	select {
	case <-ctx.Done():
	case <-binding.foreign:
		lost = binding.refusal()
	case err := <-s.failed:
		return errors.Join(fmt.Errorf("serve: %w", err), health.Close())
	}
	log.Info("server stopping: running requests are waited for", slog.Duration("at_most", DrainTimeout))
	health.Stopping()
	err = s.drain()
	log.Info("server stopped")
	return errors.Join(lost, err, health.Close())
}

// Workflows returns the client of the connections' workflows, over t.
func (d *Deps) Workflows(t temporal.Client) *connect.Temporal {
	return &connect.Temporal{Client: t, TaskQueue: d.Config.TaskQueue}
}

// Connections returns the service that changes connections and signals their workflows.
func (d *Deps) Connections(w connect.Workflows) *connect.Service {
	return connect.New(connect.Config{Store: d.Store, Apps: d.Config, Sealer: d.Keyring, Workflows: w, Presenter: d.presenter(), Log: d.Log})
}

// Disconnector returns the service that ends connections, also at their providers.
func (d *Deps) Disconnector(service *connect.Service) *connect.Disconnector {
	return &connect.Disconnector{Service: service, Keys: d.Keyring, Provider: d.revoker()}
}

func apiConfig(deps *Deps, service *connect.Service, links *links, tokens *tokens, observer api.Observer) api.Config {
	c := api.Config{
		Store:       deps.Store,
		Keys:        api.NewKeyStore(deps.DB),
		Requests:    api.NewRequestStore(deps.DB),
		Connections: service,
		Disconnects: deps.Disconnector(service),
		Webhooks:    deps.Notify(nil),
		Tokens:      tokens.of,
		Apps:        deps.Config.Apps,
		Rate:        deps.Config.Server.Rate,
		Burst:       deps.Config.Server.Burst,
		Log:         deps.Log,
		Observer:    observer,
	}
	if links.sessions != nil {
		c.Sessions = links.sessions
	}
	return c
}

// tokens makes the backend of the tenants' tokens.
type tokens struct {
	deps     *Deps
	temporal temporal.Client
	engine   *refresh.Engine // nil: only Temporal refreshes

	once sync.Once
	all  *direct.Backend // of every tenant; requests narrow it, and share it: callers of one connection share a refresh
	err  error
}

// of returns the backend for one access.
func (t *tokens) of(access perennial.Access) (api.Backend, error) {
	t.once.Do(func() { t.all, t.err = direct.New(t.config()) })
	if t.err != nil {
		return nil, t.err
	}
	return t.all.For(access), nil
}

func (t *tokens) config() direct.Config {
	c := direct.Config{Access: perennial.WorkerAccess(), Store: t.deps.Store, Keys: t.deps.Keyring, Workflows: direct.Temporal(t.temporal, t.deps.Config.TaskQueue), Apps: t.deps.Config,
		Links: t.deps.Config.Connect.Links, Floor: t.deps.Config.Timing.Floor()}
	if t.engine != nil {
		c.Engine, c.Sweep = t.engine, sweepEvery(t.deps.Config)
	}
	return c
}

// close waits until the token sets of this process's own refreshes are safe.
func (t *tokens) close() {
	if t.all != nil {
		t.all.Close()
	}
}

const (
	pruneEvery = 10 * time.Minute
	pruneLimit = 10_000
)

// pruning deletes old Idempotency-Keys. Its stop function waits for its end.
func pruning(ctx context.Context, deps *Deps, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	requests := api.NewRequestStore(deps.DB)
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(pruneEvery)
		defer tick.Stop()
		for {
			if _, err := requests.Prune(ctx, pruneLimit); err != nil && ctx.Err() == nil {
				log.Warn("old Idempotency-Keys are not deleted", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() { cancel(); done.Wait() }
}
