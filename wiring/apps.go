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

// canariesAhead is how long before its time a worker calls a probe's canary: a little
// more than the time between two looks.
const canariesAhead = pollEvery + time.Second

// appKeeper looks after the apps in trouble from within a worker: it starts the release
// of each circuit that is releasing, and calls the canaries of those that are open. All
// workers do so at once; the rows fence each step.
type appKeeper struct {
	deps     *Deps
	client   client.Client
	canaries *activities.Canaries
	fallback *refresh.Fallback // nil without a spool
	here     sync.WaitGroup    // canaries that are refreshed in this process
}

// look does what is due now.
func (k *appKeeper) look(ctx context.Context) error {
	return errors.Join(k.deps.startRelease(ctx, k.client), k.callCanaries(ctx))
}

// callCanaries calls the canaries of all probes that are due.
func (k *appKeeper) callCanaries(ctx context.Context) error {
	apps, err := k.deps.Store.ProbesDue(ctx, canariesAhead)
	errs := []error{err}
	for _, app := range apps {
		try, cancel := context.WithTimeout(ctx, pollTimeout/2) // Temporal may be away without saying so
		_, err := k.canaries.Call(try, app, canariesAhead)
		cancel()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// refreshHere refreshes a canary in this process, at its time.
func (k *appKeeper) refreshHere(ctx context.Context, c perennial.Connection) {
	ctx = context.WithoutCancel(ctx)
	k.here.Go(func() {
		time.Sleep(min(time.Until(c.NextAttemptAt), canariesAhead))
		_, err := k.fallback.Refresh(ctx, c, func(save func()) { save() })
		if err != nil && !errors.Is(err, refresh.ErrLeftToWorkflow) {
			k.deps.Log.Error("a canary was not refreshed beside Temporal", "connection_id", c.ID, "error", err)
		}
	})
}

// startRelease starts the release of each app with a circuit that is releasing. While
// Temporal does not take the start, it does the next step itself: the rows fence the
// steps, and the workflows or the fallback then find the connections due.
func (d *Deps) startRelease(ctx context.Context, c client.Client) error {
	apps, err := d.Store.ReleasingApps(ctx)
	errs := []error{err}
	for _, app := range apps {
		start, cancel := context.WithTimeout(ctx, pollTimeout/2) // Temporal may be away without saying so
		err := workflows.StartRelease(start, c, d.Config.TaskQueue, app)
		cancel()
		if err != nil {
			_, _, stepErr := d.Store.Release(ctx, activities.ReleaseRequest(d.Config, app))
			errs = append(errs, err, stepErr)
		}
	}
	return errors.Join(errs...)
}
