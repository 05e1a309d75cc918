package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// poller is what a team without Temporal writes: a loop over the due rows, around the
// same engine.
type poller struct{ product }

func (p *poller) temporal() bool { return false }

func (p *poller) refreshesPerRun() int { return 0 }

func (p *poller) prepare(ctx context.Context, w *world) error {
	if err := p.open(ctx, w, nobody{}); err != nil {
		return err
	}
	if _, err := w.db.ExecContext(ctx, dueIndex); err != nil {
		return fmt.Errorf("make the poller's index: %w", err)
	}
	return nil
}

func (p *poller) command(w *world) (string, []string, error) {
	return hidden(pollerCommand, "-config", p.configFile(w))
}

// nobody sends no signal: the loop finds every connection by itself.
type nobody struct{}

func (nobody) Signal(context.Context, perennial.Connection, string) error { return nil }

const (
	pollerCommand = "_poller"
	pollEvery     = time.Second // if fewer than a batch were due
	pollBatch     = 64
	pollAtOnce    = 16
)

// dueIndex is the index that dueQuery needs, instead of the product's.
const dueIndex = `DROP INDEX connections_due; CREATE INDEX connections_due ON connections (next_refresh_at) WHERE status = 'active'`

// dueQuery takes rows that no other process is looking at. The lock ends with the
// statement; after that the engine's own fence stops other processes.
const dueQuery = `SELECT id, generation, app FROM connections WHERE status = 'active' AND next_refresh_at <= clock_timestamp()
	AND (next_attempt_at IS NULL OR next_attempt_at <= clock_timestamp()) AND (confirm_at IS NULL OR confirm_at <= clock_timestamp())
	AND (attempt_deadline IS NULL OR attempt_deadline <= clock_timestamp())
	ORDER BY next_refresh_at LIMIT $1 FOR UPDATE SKIP LOCKED`

// runPoller runs the poller process.
func runPoller(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(pollerCommand, flag.ContinueOnError)
	path := flags.String("config", "", "configuration file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := config.LoadEnviron(*path, os.Environ())
	if err != nil {
		return err
	}
	deps, err := wiring.Open(ctx, cfg, wiring.NewLogger(cfg, os.Stderr))
	if err != nil {
		return err
	}
	defer deps.Close()
	if err := deps.OpenSpool(); err != nil {
		return err
	}
	db, err := sql.Open("pgx", cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	registry := prometheus.NewRegistry()
	counts := metrics.New(registry)
	metrics.RegisterProcess(registry)
	engine := deps.EngineConfig()
	engine.Observer = counts
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var loop sync.WaitGroup
	var failed error
	loop.Go(func() {
		defer cancel()
		failed = poll(ctx, db, refresh.New(engine))
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	err = serve(ctx, cfg.Listen, mux)
	loop.Wait()
	return errors.Join(err, failed)
}

// poll refreshes what is due until ctx ends.
func poll(ctx context.Context, db *sql.DB, engine *refresh.Engine) error {
	for ctx.Err() == nil {
		batch, err := dueRows(ctx, db)
		if err != nil {
			return err
		}
		slots := make(chan struct{}, pollAtOnce)
		var all sync.WaitGroup
		for _, req := range batch {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				res, err := engine.Refresh(ctx, req)
				if err != nil {
					engine.Log.Error("not refreshed", "connection_id", req.ConnectionID, "error", err)
				}
				if res.Unsaved != nil {
					_ = engine.SaveLater(context.WithoutCancel(ctx), *res.Unsaved) // returns when the token set is saved
				}
			})
		}
		all.Wait()
		if len(batch) == pollBatch {
			continue
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

func dueRows(ctx context.Context, db *sql.DB) ([]refresh.Request, error) {
	rows, err := db.QueryContext(ctx, dueQuery, pollBatch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []refresh.Request
	for rows.Next() {
		req := refresh.Request{Trigger: perennial.TriggerTimer}
		if err := rows.Scan(&req.ConnectionID, &req.Generation, &req.App); err != nil {
			return nil, err
		}
		out = append(out, req)
	}
	return out, rows.Err()
}
