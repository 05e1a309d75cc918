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
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/worker"
)

// RunWorker reads the configuration, checks it against the real servers and files, and
// works until ctx ends. Then it takes no new work, waits for the running refreshes, and
// returns nil. environ is in the form of os.Environ. It writes its log to logs. It dials
// Temporal with customize; see [Dial].
func RunWorker(ctx context.Context, args, environ []string, logs io.Writer, customize ...Customize) error {
	deps, err := openFor(ctx, "worker", args, environ, logs)
	if err != nil {
		return err
	}
	defer deps.Close()
	cfg, log := deps.Config, deps.Log
	if err := deps.OpenSpool(); err != nil {
		return err
	}
	temporalClient, err := Dial(ctx, cfg, environ, log, customize...)
	if err != nil {
		return err
	}
	defer temporalClient.Close()

	if cfg.Worker.Cache > 0 {
		worker.SetStickyWorkflowCacheSize(cfg.Worker.Cache) // it holds for the process, and only before the first worker
	}
	registry := prometheus.NewRegistry()
	metrics.RegisterProcess(registry)
	binding, err := deps.Bind(ctx, temporalClient, customize...)
	if err != nil {
		return err
	}
	health, err := ServeHealth(cfg.Listen, deps, temporalClient, registry)
	if err != nil {
		return err
	}
	if err := deps.waitForBinding(ctx, binding, health.Address()); err != nil {
		return errors.Join(ended(ctx, err), health.Close())
	}
	w := worker.New(temporalClient, cfg.TaskQueue, WorkerOptions(cfg))
	part, err := deps.Register(w, temporalClient, registry)
	if err != nil {
		return errors.Join(err, health.Close())
	}
	health.watch(part.watchdog.wrong)
	if err := w.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the worker: %w", err), health.Close())
	}
	stopPart := part.Start(ctx)
	defer stopPart()
	health.Started()
	log.Info("worker started", "build", version.Get(), "task_queue", cfg.TaskQueue, "health", health.Address(), "timing", cfg.Timing.String(), "apps", len(cfg.Apps))
	var lost error
	select {
	case <-ctx.Done():
	case <-binding.foreign:
		lost = binding.refusal()
	}
	log.Info("worker stopping: running refreshes are waited for", slog.Duration("at_most", cfg.Timing.WorkerStop))
	health.Stopping()
	w.Stop()
	log.Info("worker stopped")
	return errors.Join(lost, health.Close())
}

// waitForBinding returns once this process may present, and so may take tasks. Meanwhile
// it is alive and not ready, and it stores what its spool holds: after a restore that is
// what only the spool knows.
func (d *Deps) waitForBinding(ctx context.Context, b *Binding, health string) error {
	if b.MayPresent() == nil {
		return nil
	}
	d.Log.Warn("worker waits before it takes tasks", "health", health)
	stopStoring := StoreUnsaved(ctx, refresh.New(d.EngineConfig()), d.Log)
	defer stopStoring()
	stopReporting := d.Report(ctx, KindWorker)
	defer stopReporting()
	return b.wait(ctx)
}

// ended returns nil if err only says that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// WorkerOptions returns the options of a worker that keeps connections alive. The SDK's
// defaults apply to the rest.
func WorkerOptions(cfg *config.Config) worker.Options {
	return worker.Options{
		WorkerStopTimeout: cfg.Timing.WorkerStop,
		// A task queue has four partitions, and a poll waits at one of them. The SDK's
		// default is two polls, one of which is for the worker's own cache. With that,
		// two partitions had delivered almost nothing eleven minutes after 20,000
		// workflows were started, 8,600 connections were overdue, and the machine was
		// idle. A waiting poll costs little.
		MaxConcurrentWorkflowTaskPollers: 16,
		MaxConcurrentActivityTaskPollers: 8,
		// A task that waits longer than this for the worker with its workflow in the
		// cache goes to any worker, which replays the workflow; so a worker that is
		// further behind falls behind even more. With ten seconds, a herd of 20,000
		// refreshed at 40 a second, nearly all of them ten seconds late; the SDK's
		// default is five. On the other hand, tasks that a dead worker had received and
		// not started wait just as long: with 80 s, of 2,000 connections that each
		// refresh every 100 s, 1 in 100 was 80 s late.
		StickyScheduleToStartTimeout: min(cfg.Timing.StartToClose, stickyFor),
	}
}

// stickyFor is at most the default buffer of a token that lives for two minutes.
const stickyFor = 30 * time.Second

// Unsaved tokens are retried twice a second; usually this only lists an empty
// directory. When the store is back after an outage, they must be in it before another
// worker presents the old token again. The log has fewer lines about an outage.
const (
	storeUnsavedEvery = 500 * time.Millisecond
	complainEvery     = 30 * time.Second
)

// StoreUnsaved stores the sets that this process and its spool hold, now and
// repeatedly, until the returned function is called. It goes on while running refreshes
// finish.
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

// inBackground runs do until stop is called. stop waits for its end.
func inBackground(ctx context.Context, do func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { do(ctx) })
	return func() { cancel(); done.Wait() }
}
