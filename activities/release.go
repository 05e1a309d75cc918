package activities

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"
)

// ReleaseStore does the steps of a release; store.Store in production.
type ReleaseStore interface {
	Release(ctx context.Context, req store.ReleaseRequest) (cs []perennial.Connection, more bool, err error)
}

// ReleaseActivity is the type of the Release activity in recorded histories.
const ReleaseActivity = "LetGo"

// Releaser holds the dependencies of the Release activity. Safe for concurrent use.
type Releaser struct {
	Store     ReleaseStore
	Workflows Signaller
	Apps      refresh.Apps
}

// ReleaseResult counts the signalled connections, and those whose signal failed. The
// sweep finds the latter.
type ReleaseResult struct {
	Signalled    int `json:"called"`
	NotSignalled int `json:"not_told,omitempty"`
}

const (
	releaseAtOnce = 8
	releaseEvery  = time.Second
)

// Release does the steps of the release of an app's waiting connections until it is
// over, and wakes the workflow of each connection that has its turn. Without a signal
// they would sleep until the time that the gate gave them while the circuit was open.
// For an app with pacers it leaves out the connections that pacers refresh. How far the
// release has come is in the store, so Release continues where any other try stopped;
// two at once do no harm.
func (c *Releaser) Release(ctx context.Context, app string) (out ReleaseResult, err error) {
	req := ReleaseRequest(c.Apps, app)
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		page, more, err := c.Store.Release(ctx, req)
		failures := c.signal(ctx, page) // also after an error: these have their turn
		out.Signalled, out.NotSignalled = out.Signalled+len(page)-failures, out.NotSignalled+failures
		activity.RecordHeartbeat(ctx, out.Signalled)
		if err != nil || !more {
			return out, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

// ReleaseRequest asks for the next step of an app's release, as the app is configured.
// If it is not known here, its workflows may run elsewhere.
func ReleaseRequest(apps refresh.Apps, name string) store.ReleaseRequest {
	app, _ := apps.App(name)
	return store.ReleaseRequest{App: name, Rate: app.MaxRefreshesPerSecond, Pooled: app.Pacers > 0}
}

// signal nudges the workflows of a page and returns how many signals failed.
func (c *Releaser) signal(ctx context.Context, page []perennial.Connection) (failures int) {
	failed := c.signalAll(ctx, page, func(int) {})
	for _, err := range failed {
		activity.GetLogger(ctx).Warn("workflow not signalled; the sweep finds it", "error", err)
	}
	return len(failed)
}

// signalAll nudges the workflows of a page, a few at once, and returns the errors. It
// calls failing after each, with their number.
func (c *Releaser) signalAll(ctx context.Context, page []perennial.Connection, failing func(int)) (failed []error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(releaseAtOnce)
	for _, one := range page {
		g.Go(func() error {
			if ctx.Err() != nil {
				return nil // nobody waits for the rest
			}
			if err := c.Workflows.Signal(ctx, one, nudge); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, fmt.Errorf("wake connection %s: %w", one.ID, err))
				failing(len(failed))
			}
			return nil
		})
	}
	_ = g.Wait() // each goroutine records its own error
	return failed
}
