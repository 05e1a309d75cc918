package wiring

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
)

// Registry registers workflows and activities: any Temporal worker.
type Registry interface {
	worker.WorkflowRegistry
	worker.ActivityRegistry
}

// Part is Perennial's part of a worker; [Deps.Register] makes it.
type Part struct {
	engine      *refresh.Engine
	startPacers func(context.Context) error
	dispatch    func(context.Context) (int, error)
	apps        *appKeeper
	watchdog    *watchdog
	report      func(ctx context.Context, kind string) (stop func())
	moveHosts   func(context.Context)
	discover    func(context.Context)
	log         *slog.Logger

	slow     sync.WaitGroup // presentations of the pacers that outlive their activity
	slowWait time.Duration  // how long the end of the worker waits for them at most
}

// Register adds Perennial's workflows and activities to a worker that listens on the
// configured task queue over c. The worker's WorkerStopTimeout must be at least
// Config.Timing.WorkerStop. Register adds metrics to registry. Call OpenSpool before
// it, and Start of the result once the worker has started.
//
// If the database and the Temporal that c leads to do not belong together, it returns an
// error that says what to do: such a worker must take no task.
func (d *Deps) Register(w Registry, c client.Client, registry prometheus.Registerer) (*Part, error) {
	for _, field := range seal.Fields {
		if !d.Keyring.CanOpen(field) {
			return nil, perennial.Errorf(perennial.CodeInvalid, "a worker needs both keysets, and %q has none for the %s", d.Config.KeysDir, field)
		}
	}
	binding, err := d.Bind(context.Background(), c)
	if err != nil {
		return nil, err
	}
	if err := binding.MayPresent(); err != nil {
		return nil, err
	}
	queue := d.Config.TaskQueue
	counts := metrics.New(registry)
	metrics.RegisterFleet(registry, d.Store, d.spoolCounts())
	engineConfig := d.EngineConfig()
	engineConfig.Observer = counts
	p := d.newPart(refresh.New(engineConfig))
	told := d.Workflows(c)
	p.startPacers = func(ctx context.Context) error {
		var errs []error
		for _, app := range d.Config.Apps {
			errs = append(errs, workflows.StartPacers(ctx, c, queue, app.Name, app.Pacers))
		}
		return errors.Join(errs...)
	}
	events := d.Notify(metrics.NewNotify(registry))
	p.dispatch = func(ctx context.Context) (int, error) {
		return events.Dispatch(ctx, func(ctx context.Context, event, endpoint string) error {
			return workflows.StartDelivery(ctx, c, queue, event, endpoint)
		})
	}
	p.watchdog = d.watchdog(p.engine, c, counts)
	p.apps = d.newAppKeeper(c, told, p.watchdog.fallback)
	workflows.Register(w, d.workflowOptions())
	acts := activities.New(p.engine, d.Store, d.Config, told)
	acts.Attributes, acts.Binding, acts.RowMissing = workflows.NewAttributes(c), binding, counts.RowMissing
	acts.Revisions = workflows.NewRevisions(d.Store.NewestRevision)
	for _, a := range append([]any{acts}, d.parts(p, told, binding, events)...) {
		w.RegisterActivity(a)
	}
	w.RegisterActivityWithOptions(p.apps.acts.Releaser.Release, activity.RegisterOptions{Name: activities.ReleaseActivity})
	return p, nil
}

// newPart returns a Part without the work that needs Temporal.
func (d *Deps) newPart(engine *refresh.Engine) *Part {
	return &Part{engine: engine, report: d.Report, moveHosts: d.moveHosts, discover: d.discover, log: d.Log, slowWait: d.Config.Timing.WithDefaults().WorkerStop}
}

func (d *Deps) workflowOptions() workflows.Options { return workflows.Options{Timing: d.Config.Timing} }

// parts returns the activities beside those of a connection.
func (d *Deps) parts(p *Part, told *connect.Temporal, binding *Binding, events *notify.Service) []any {
	return []any{
		&activities.Pacer{Engine: p.engine, Store: d.Store, Workflows: told, Apps: d.Config, Timing: d.Config.Timing, Slow: &p.slow},
		p.apps.acts,
		&activities.Deliverer{Notify: events},
		&activities.Sweeper{Store: d.Store, Workflows: told, Check: binding.checkSweep, StartPacers: p.startPacers, StartRelease: p.apps.look, Dispatch: p.dispatch,
			Prune: []func(context.Context, time.Duration, int) (int64, error){d.Store.Prune, events.Prune}},
	}
}

// Start begins the worker's work outside of tasks. Until ctx ends it delivers events,
// releases waiting connections, and refreshes neglected connections beside Temporal.
// Until stop is called it stores unsaved token sets. Call stop after the worker's Stop,
// whose last refreshes may leave such sets. stop waits for the end of everything.
func (p *Part) Start(ctx context.Context) (stop func()) {
	// A slow reply may leave an unsaved set.
	stops := []func(){StoreUnsaved(ctx, p.engine, p.log), p.report(ctx, KindWorker), p.waitForSlow, p.apps.end, inBackground(ctx, p.watchdog.run), inBackground(ctx, p.moveHosts), inBackground(ctx, p.discover)}
	if err := p.startPacers(ctx); err != nil {
		p.log.Error("pacers not started; the sweep starts them", "error", err)
	}
	stops = append(stops, poll(ctx, func(ctx context.Context) error {
		_, err := p.dispatch(ctx)
		return err
	}, "events are not delivered at present", p.log), poll(ctx, p.apps.look, "apps in trouble cannot be looked after at present", p.log))
	return func() {
		for i := len(stops) - 1; i >= 0; i-- {
			stops[i]()
		}
	}
}

// waitForSlow waits for the presentations that the pacers have left behind. Each has its own bound, unless
// neither the database nor Temporal takes its tokens.
func (p *Part) waitForSlow() {
	done := make(chan struct{})
	go func() { p.slow.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(p.slowWait):
		p.log.Error("slow refreshes of a pacer have not ended", "waited", p.slowWait)
	}
}
