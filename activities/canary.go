package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
)

// CanaryStore calls the connections that probe whether an app's circuits may close;
// store.Store in production.
type CanaryStore interface {
	CallCanaries(ctx context.Context, req store.CanaryRequest) ([]perennial.Connection, error)
}

// Canaries keeps the promised times of an app's probes. Safe for concurrent use.
type Canaries struct {
	Store     CanaryStore
	Workflows Signaller
	Apps      refresh.Apps
	// Here refreshes a canary in this process, if its workflow need not. It is used while
	// Temporal takes no signal. It may be nil.
	Here func(context.Context, perennial.Connection)
}

// Call calls the canaries of an app's probes that are due within ahead, and wakes their
// workflows. Without a signal they would sleep until the end of their own backoff.
func (c *Canaries) Call(ctx context.Context, app string, ahead time.Duration) (called []perennial.Connection, err error) {
	called, err = c.Store.CallCanaries(ctx, CanaryRequest(c.Apps, app, ahead))
	errs := []error{err}
	for _, one := range called {
		err := c.Workflows.Signal(ctx, one, nudge)
		if err != nil && c.Here != nil {
			c.Here(ctx, one)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("wake canary %s of app %s: %w", one.ID, app, err))
		}
	}
	return called, errors.Join(errs...)
}

// CanaryRequest asks for the canaries of an app, as the app is configured. If it is not
// known here, its tokens count as the most delicate.
func CanaryRequest(apps refresh.Apps, name string, ahead time.Duration) store.CanaryRequest {
	class := perennial.ReplayReuseRevokes
	if app, err := apps.App(name); err == nil {
		class = refresh.WaitingClass(app.Provider)
	}
	return store.CanaryRequest{App: name, Class: class, Ahead: ahead}
}
