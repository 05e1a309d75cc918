package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/pgserver"
	"github.com/perennial-oauth/perennial/internal/temporalserver"
	"github.com/perennial-oauth/perennial/wiring"
	"go.temporal.io/sdk/client"
)

// shards is the number of the Temporal server's history shards: so many that they are
// no bottleneck, and few enough for one machine.
const shards = 128

// world is everything that one measurement runs on.
type world struct {
	options
	variant  variant
	life     time.Duration // of an access token
	dir      string
	binary   string // the product's worker
	progress io.Writer

	pg, pgOf *pgserver.Server // ours, and Temporal's
	temporal *temporalserver.Server
	client   client.Client
	provider providerProcess
	worker   *process
	address  string // of the worker
	db       *sql.DB
	fleet    []member
	empty    memory // the worker's, before there was a connection
	undo     []func()
}

func buildWorker(ctx context.Context, dir string, o options, progress io.Writer) (string, error) {
	path := filepath.Join(dir, "worker")
	for _, v := range o.variants {
		if _, product := variants[v]().(*own); !product {
			continue
		}
		fmt.Fprintln(progress, "building the worker ...")
		out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/perennial-oauth/perennial/worker").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build the worker: %w: %s", err, out)
		}
		return path, nil
	}
	return "", nil
}

// start starts the servers, the provider and the variant's worker.
func (w *world) start(ctx context.Context) (err error) {
	if w.pg, err = w.postgres("shared_preload_libraries=pg_stat_statements"); err != nil {
		return err
	}
	if w.variant.temporal() {
		if w.pgOf, err = w.postgres(); err != nil {
			return err
		}
		if w.temporal, err = temporalserver.Start(ctx, w.pgOf, w.dir, shards, w.progress); err != nil {
			return err
		}
		w.undo = append(w.undo, func() { _ = w.temporal.Kill() })
		if w.client, err = wiring.Dial(ctx, &config.Config{}, w.environ(), quiet); err != nil {
			return err
		}
		w.undo = append(w.undo, w.client.Close)
	}
	if err := w.startProvider(ctx); err != nil {
		return err
	}
	if w.db, err = sql.Open("pgx", w.pg.URL); err != nil {
		return err
	}
	w.undo = append(w.undo, func() { _ = w.db.Close() })
	if _, err := w.db.ExecContext(ctx, "CREATE EXTENSION pg_stat_statements"); err != nil {
		return fmt.Errorf("count statements (Debian: postgresql-contrib): %w", err)
	}
	if w.address, err = freeAddress(); err != nil {
		return err
	}
	if err := w.variant.prepare(ctx, w); err != nil {
		return err
	}
	if err := w.startWorker(ctx); err != nil {
		return err
	}
	w.undo = append(w.undo, func() { w.worker.kill() })
	w.empty, err = w.memory(ctx)
	return err
}

// postgres starts a server that keeps nothing when it stops.
func (w *world) postgres(settings ...string) (*pgserver.Server, error) {
	if w.fsync {
		settings = append(settings, "fsync=on")
	}
	s, err := pgserver.Start("", settings...)
	if err == nil {
		w.undo = append(w.undo, func() { _ = s.Stop(); _ = os.RemoveAll(s.Dir) })
	}
	return s, err
}

func (w *world) startProvider(ctx context.Context) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	knobs, err := json.Marshal(w.knobs())
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := spawn(ctx, filepath.Join(w.dir, "provider.log"), address, nil, self, providerCommand, "-listen", address, "-knobs", string(knobs))
	if err != nil {
		return err
	}
	w.provider = providerProcess{p}
	w.undo = append(w.undo, p.kill)
	return nil
}

// knobs returns the app's: tokens rotate, as at most providers that need this product.
func (w *world) knobs() fakeprovider.Knobs {
	return fakeprovider.Knobs{LifetimeSeconds: w.life.Seconds(), Rotate: true, LatencyBeforeMS: w.latency.Milliseconds()}
}

func (w *world) tokenURL() string { return w.provider.url + "/token" }

// environ returns the environment by which the product's programs find Temporal and the
// database.
func (w *world) environ() []string {
	e := []string{"PERENNIAL_DATABASE_URL=" + w.pg.URL}
	if w.temporal != nil {
		e = append(e, "TEMPORAL_ADDRESS="+w.temporal.Address)
	}
	return e
}

func (w *world) startWorker(ctx context.Context) (err error) {
	program, args, err := w.variant.command(w)
	if err != nil {
		return err
	}
	w.worker, err = spawn(ctx, filepath.Join(w.dir, "worker.log"), w.address, w.environ(), program, args...)
	return err
}

// groups returns the processes whose CPU time is reported separately.
func (w *world) groups() map[string]int {
	g := map[string]int{"postgres": w.pg.Pid(), "provider": w.provider.pid()}
	select {
	case <-w.worker.done:
	default:
		g["worker"] = w.worker.pid()
	}
	if w.temporal != nil {
		g["temporal"], g["temporal_postgres"] = w.temporal.Pid(), w.pgOf.Pid()
	}
	return g
}

// stop ends everything, in the opposite order.
func (w *world) stop() {
	for i := len(w.undo) - 1; i >= 0; i-- {
		w.undo[i]()
	}
}

// count reads one number from our database.
func (w *world) count(ctx context.Context, query string, args ...any) (n float64, err error) {
	var null sql.NullFloat64
	if err := w.db.QueryRowContext(ctx, query, args...).Scan(&null); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("%s: %w", query, err)
	}
	return null.Float64, nil
}

// numbers reads a column of numbers from our database.
func (w *world) numbers(ctx context.Context, query string, args ...any) (all []float64, err error) {
	rows, err := w.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var n float64
		if err := rows.Scan(&n); err != nil {
			return nil, fmt.Errorf("%s: %w", query, err)
		}
		all = append(all, n)
	}
	return all, rows.Err()
}
