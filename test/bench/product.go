package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
)

const taskQueue = "bench"

// product is what the variants around this repository's engine share: the schema, the
// configuration, the ledger.
type product struct {
	pace string // a key of the app; "": left out

	cfg     *config.Config
	deps    *wiring.Deps
	service *connect.Service
}

// open creates the schema, the keys and the configuration of the service that creates
// connections.
func (p *product) open(ctx context.Context, w *world, told connect.Workflows) error {
	s, err := store.Open(ctx, w.pg.URL)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, _, err := s.Migrate(ctx); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.dir, "secret"), []byte(clientSecret), 0o600); err != nil {
		return err
	}
	if err := p.configure(w); err != nil {
		return err
	}
	if p.cfg, err = config.LoadEnviron(p.configFile(w), w.environ()); err != nil {
		return err
	}
	if err := seal.Generate(p.cfg.KeysDir, nil, true); err != nil {
		return err
	}
	if p.deps, err = wiring.Open(ctx, p.cfg, quiet); err != nil {
		return err
	}
	w.undo = append(w.undo, p.deps.Close)
	p.service = connect.New(connect.Config{Store: p.deps.Store, Apps: p.cfg, Sealer: p.deps.Keyring, Workflows: told})
	return nil
}

func (p *product) configure(w *world) error {
	return os.WriteFile(p.configFile(w), []byte(p.yaml(w)), 0o600)
}

func (p *product) configFile(w *world) string { return filepath.Join(w.dir, "perennial.yaml") }

// yaml returns a production's configuration: addresses and the app, and defaults for
// all else.
func (p *product) yaml(w *world) string {
	var b strings.Builder
	fmt.Fprintf(&b, "keys: %q\nallow_plaintext_keys: true\nspool: %q\ntask_queue: %s\nlisten: %s\n", filepath.Join(w.dir, "keys"), filepath.Join(w.dir, "spool"), taskQueue, w.address)
	if w.cache > 0 {
		fmt.Fprintf(&b, "worker: {cache: %d}\n", w.cache)
	}
	fmt.Fprintf(&b, "apps:\n  - name: %s\n    provider: generic\n    title: Bench\n    client_id: %s\n    client_secret_file: %q\n    token_url: %s\n    auth_style: header\n    replay_class: single_use\n",
		appName, clientID, filepath.Join(w.dir, "secret"), w.tokenURL())
	if w.limit > 0 {
		fmt.Fprintf(&b, "    max_refreshes_per_second: %g\n", w.limit)
	}
	if p.pace != "" {
		fmt.Fprintf(&b, "    pace: %s\n", p.pace)
	}
	return b.String()
}

func (p *product) add(ctx context.Context, g grant) (string, error) {
	c, err := p.service.Connect(ctx, perennial.WorkerAccess(), connect.Grant{Tenant: cmp.Or(g.tenant, "bench"), App: appName, Account: g.account, ObtainedAt: g.obtained,
		Tokens: perennial.TokenSet{AccessToken: g.access, RefreshToken: g.refresh, TokenType: "bearer", ExpiresIn: g.life}})
	return c.ID, err
}

func (p *product) table() string { return "connections" }

func (p *product) unwell() string { return "status <> 'active' OR health <> 'healthy' OR " + overdue }

func (p *product) workflowID(id string) string { return workflows.ID(id) }

func (p *product) lateness(ctx context.Context, w *world, since time.Time) ([]float64, error) {
	return w.numbers(ctx, "SELECT lateness_ms FROM attempts WHERE outcome = 'refreshed' AND started_at >= $1", since)
}

// own is the product's worker, at the given pace if there is one.
type own struct{ product }

func (o *own) temporal() bool { return true }

func (o *own) refreshesPerRun() int {
	if o.pace == "pooled" {
		return 0
	}
	return workflows.RefreshesPerRun
}

func (o *own) prepare(ctx context.Context, w *world) error {
	if err := o.open(ctx, w, &connect.Temporal{Client: w.client, TaskQueue: taskQueue}); err != nil {
		return err
	}
	if _, err := workflows.Setup(ctx, w.client, "default"); err != nil {
		return err
	}
	_, err := workflows.SetupSweep(ctx, w.client, taskQueue, workflows.Sweep(o.cfg.Sweep))
	return err
}

func (o *own) command(w *world) (string, []string, error) {
	return w.binary, []string{"--config", o.configFile(w)}, o.configure(w)
}
