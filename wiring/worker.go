package wiring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/worker"
)

// RunWorker reads the configuration, checks it against the world, and works until ctx
// ends: then no new work is taken, running refreshes are waited for, and RunWorker
// returns nil. environ is as from os.Environ; logs go to logs.
func RunWorker(ctx context.Context, args, environ []string, logs io.Writer) error {
	options, err := program.Parse("worker", args)
	if err != nil {
		return err
	}
	cfg, err := config.LoadEnviron(options.Config, environ)
	if err != nil {
		return err
	}
	log := NewLogger(cfg, logs)

	deps, err := Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer deps.Close()
	if err := deps.OpenSpool(); err != nil {
		return err
	}
	temporalClient, err := Dial(ctx, cfg, environ, log)
	if err != nil {
		return err
	}
	defer temporalClient.Close()

	if cfg.Worker.Cache > 0 {
		worker.SetStickyWorkflowCacheSize(cfg.Worker.Cache) // of the process, and only before its first worker
	}
	w := worker.New(temporalClient, cfg.TaskQueue, WorkerOptions(cfg))
	registry := prometheus.NewRegistry()
	metrics.RegisterProcess(registry)
	part, err := deps.Register(w, temporalClient, registry)
	if err != nil {
		return err
	}

	health, err := ServeHealth(cfg.Listen, deps, temporalClient, registry)
	if err != nil {
		return err
	}
	if err := w.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the worker: %w", err), health.Close())
	}
	stopPart := part.Start(ctx)
	defer stopPart()
	health.Started()
	log.Info("worker started", "build", version.Get(), "task_queue", cfg.TaskQueue, "health", health.Address(), "timing", cfg.Timing.String(), "apps", len(cfg.Apps))
	<-ctx.Done()
	log.Info("worker stopping: running refreshes are waited for", slog.Duration("at_most", cfg.Timing.WorkerStop))
	health.Stopping()
	w.Stop()
	log.Info("worker stopped")
	return health.Close()
}

// WorkerOptions are the options of a worker that keeps connections alive. What they do
// not name is the SDK's default.
func WorkerOptions(cfg *config.Config) worker.Options {
	return worker.Options{
		WorkerStopTimeout: cfg.Timing.WorkerStop,
		// A task queue has four partitions, and a poll waits at one of them. With the
		// SDK's two, one of which is for its own cache, two partitions had delivered next
		// to nothing eleven minutes after 20,000 workflows were made, 8,600 connections
		// were overdue, and the machine was idle. A poll that waits costs little.
		MaxConcurrentWorkflowTaskPollers: 16,
		MaxConcurrentActivityTaskPollers: 8,
		// A task that waits for longer than this for the worker with its workflow in its
		// cache is given to any, which replays it: a worker that is behind by more falls
		// behind further. With ten seconds a herd of 20,000 went at 40 a second, nearly
		// all of them ten seconds late; the SDK's is five. What a worker that died had
		// been given, and had not begun, waits as long: of 2,000 connections that each
		// refresh every 100 s, 1 in 100 was 80 s late when it was 80.
		StickyScheduleToStartTimeout: min(cfg.Timing.StartToClose, stickyFor),
	}
}

// stickyFor is no longer than the default buffer of a token that lives for two minutes.
const stickyFor = 30 * time.Second

// What is kept is tried twice a second, which is a look at an empty folder: when the
// store is back after an outage it must be there before another worker presents the
// token again. An outage is not complained of as often.
const (
	storeUnsavedEvery = 500 * time.Millisecond
	complainEvery     = 30 * time.Second
)

// StoreUnsaved stores what this process and its spool hold, now and from time to time,
// until the returned function is called: also while running refreshes are waited for.
func StoreUnsaved(ctx context.Context, engine *refresh.Engine, log *slog.Logger) (stop func()) {
	return inBackground(context.WithoutCancel(ctx), func(ctx context.Context) {
		tick := time.NewTicker(storeUnsavedEvery)
		defer tick.Stop()
		var complained time.Time
		for {
			if err := engine.StoreUnsaved(ctx); err != nil && ctx.Err() == nil && time.Since(complained) >= complainEvery {
				complained = time.Now()
				log.Error("unsaved tokens are not stored yet", "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}

// inBackground runs do until stop is called, which waits for its end.
func inBackground(ctx context.Context, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { do(ctx) })
	return func() { cancel(); done.Wait() }
}
