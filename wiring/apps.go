package wiring

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
)

const (
	// canariesAhead is how long before its time a worker calls a probe's canary: a little
	// more than the time between two looks.
	canariesAhead = pollEvery + time.Second
	// startedAgain is how often a worker starts the workflow of an app that goes on being
	// in trouble, in case it was terminated.
	startedAgain = time.Minute
	// startTimeout bounds one start: Temporal may be away without saying so.
	startTimeout = 5 * time.Second
)

// appKeeper looks after the apps in trouble from within a worker: it starts the workflow
// of each, calls the canaries of those with an open circuit, and releases the waiting
// connections of those that are releasing. The workflows do the same; the rows fence each
// step.
type appKeeper struct {
	deps   *Deps
	client client.Client
	acts   *activities.AppKeeper

	fallback *refresh.Fallback // nil without a spool
	here     sync.WaitGroup    // canaries that are refreshed in this process
	ended    chan struct{}     // closed when the worker stops

	mu      sync.Mutex
	started map[string]time.Time // when the workflow of an app was started last, or was to be
}

func (d *Deps) newAppKeeper(c client.Client, told activities.Signaller, fallback *refresh.Fallback) *appKeeper {
	canaries := &activities.Canaries{Store: d.Store, Workflows: told, Apps: d.Config}
	releaser := &activities.Releaser{Store: d.Store, Workflows: told, Apps: d.Config}
	k := &appKeeper{deps: d, client: c, started: map[string]time.Time{}, fallback: fallback, ended: make(chan struct{}),
		acts: &activities.AppKeeper{Store: d.Store, Apps: d.Config, Canaries: canaries, Releaser: releaser}}
	if fallback != nil {
		canaries.Here = k.refreshHere
	}
	return k
}

// look does the work that is due now.
func (k *appKeeper) look(ctx context.Context) error {
	troubled, err := k.deps.Store.TroubledApps(ctx)
	probes, probesErr := k.deps.Store.ProbesDue(ctx, canariesAhead)
	releasing, releasingErr := k.deps.Store.ReleasingApps(ctx)
	errs := []error{err, probesErr, releasingErr}
	for _, app := range probes {
		try, cancel := context.WithTimeout(ctx, startTimeout)
		_, err := k.acts.Canaries.Call(try, app, canariesAhead)
		cancel()
		errs = append(errs, err)
	}
	for _, app := range releasing {
		_, err := k.acts.Releaser.Step(ctx, app)
		errs = append(errs, err)
	}
	for _, app := range troubled { // last: nothing waits for it
		errs = append(errs, k.start(ctx, app))
	}
	return errors.Join(errs...)
}

// start starts the workflow of an app, at most once in a while.
func (k *appKeeper) start(ctx context.Context, app string) error {
	k.mu.Lock()
	again := time.Since(k.started[app]) > startedAgain
	if again {
		k.started[app] = time.Now()
	}
	k.mu.Unlock()
	if !again {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return workflows.StartApp(ctx, k.client, k.deps.Config.TaskQueue, app)
}

// end waits for the canaries that are being refreshed in this process. It gives up those
// whose time has not come: another worker calls the next one.
func (k *appKeeper) end() {
	close(k.ended)
	k.here.Wait()
}

// refreshHere refreshes a canary in this process, at its time.
func (k *appKeeper) refreshHere(ctx context.Context, c perennial.Connection) {
	ctx = context.WithoutCancel(ctx)
	k.here.Go(func() {
		select {
		case <-time.After(min(time.Until(c.NextAttemptAt), canariesAhead)):
		case <-k.ended:
			return
		}
		_, err := k.fallback.Refresh(ctx, c, func(save func()) { save() })
		if err != nil && !errors.Is(err, refresh.ErrLeftToWorkflow) {
			k.deps.Log.Error("a canary was not refreshed beside Temporal", "connection_id", c.ID, "error", err)
		}
	})
}
