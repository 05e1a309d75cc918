package activities

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"
)

// ReleaseStore finds the connections whose wait is over; store.Store in production.
type ReleaseStore interface {
	AppState(ctx context.Context, app string) (store.AppState, error)
	ReleaseBatch(ctx context.Context, req store.ReleaseBatchRequest) (cs []perennial.Connection, more bool, err error)
	SignalledNotRefreshed(ctx context.Context, req store.ReleaseBatchRequest) (int, error)
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
	releasePage   = 500
	releaseAtOnce = 8
	releaseEvery  = time.Second
	// releaseAhead is how far the signals may run ahead of the refreshes. A workflow
	// task that waits longer than the sticky timeout goes to another worker, which
	// replays the workflow: signalled faster than they can refresh, connections refresh
	// at half the pace.
	releaseAhead = 2 * time.Second
	// After this many polls without progress, signal the rest anyway.
	releaseStalled = 10
)

// Release wakes the workflows of an app's waiting connections until the release is
// over. Each gets its signal when its wait is over and most connections before it have
// refreshed. Without a signal they would sleep until the time that the gate gave them
// while the circuit was open. For an app with pacers it leaves out the connections that
// pacers refresh. The waits are spaced at the release's rate. Release heartbeats and
// continues where the try before it stopped; two at once do no harm.
func (c *Releaser) Release(ctx context.Context, app string) (out ReleaseResult, err error) {
	a, _ := c.Apps.App(app) // if the app is unknown here, its workflows may run elsewhere
	req := store.ReleaseBatchRequest{App: app, Pooled: a.Pacers > 0}
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &req.After) // if unreadable, start from the beginning
	}
	state, err := c.Store.AppState(ctx, app)
	if err != nil {
		return out, err
	}
	rate := store.ReleaseRate(a.MaxRefreshesPerSecond, state.Connections[perennial.StatusActive])
	progress := releaseProgress{ahead: max(int(rate*releaseAhead.Seconds()), 1), refreshed: math.MinInt}
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		waiting, err := c.Store.SignalledNotRefreshed(ctx, req)
		if err != nil {
			return out, err
		}
		more := true
		if req.Limit = min(progress.room(waiting), releasePage); req.Limit > 0 {
			var page []perennial.Connection
			if page, more, err = c.Store.ReleaseBatch(ctx, req); err != nil {
				return out, err
			}
			failures := c.signal(ctx, page)
			out.Signalled, out.NotSignalled = out.Signalled+len(page)-failures, out.NotSignalled+failures
			progress.signalled += len(page)
			if n := len(page); n > 0 {
				req.After = store.ReleaseCursor{At: page[n-1].NextAttemptAt, ID: page[n-1].ID}
			}
		}
		activity.RecordHeartbeat(ctx, req.After)
		if !more {
			return out, nil
		}
		if req.Limit == releasePage {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
}

// releaseProgress tracks how many signalled connections have refreshed.
type releaseProgress struct {
	ahead     int // bound on the signalled connections that have not refreshed yet
	signalled int
	refreshed int // the most that have refreshed so far
	stalled   int // polls since that number grew
}

// room returns how many connections may be signalled now, if waiting of those signalled
// before have not refreshed yet.
func (c *releaseProgress) room(waiting int) int {
	c.stalled++
	if refreshed := c.signalled - waiting; refreshed > c.refreshed {
		c.refreshed, c.stalled = refreshed, 0
	}
	if c.stalled >= releaseStalled {
		return c.ahead // they do not refresh: do not wait for them
	}
	return c.ahead - waiting
}

// signal nudges the workflows of a page and returns how many signals failed.
func (c *Releaser) signal(ctx context.Context, page []perennial.Connection) (failures int) {
	failed := make([]error, len(page))
	var g errgroup.Group
	g.SetLimit(releaseAtOnce)
	for i, one := range page {
		g.Go(func() error {
			failed[i] = c.Workflows.Signal(ctx, one, nudge)
			return nil
		})
	}
	_ = g.Wait() // each goroutine records its own error
	for i, err := range failed {
		if err != nil {
			failures++
			activity.GetLogger(ctx).Warn("workflow not signalled; the sweep finds it", "connection_id", page[i].ID, "error", fmt.Sprint(err))
		}
	}
	return failures
}
