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

// LetGoStore finds the connections whose turn it is; store.Store in production.
type ReleaseStore interface {
	AppState(ctx context.Context, app string) (store.AppState, error)
	ReleaseBatch(ctx context.Context, req store.ReleaseBatchRequest) (cs []perennial.Connection, more bool, err error)
	SignalledNotRefreshed(ctx context.Context, req store.ReleaseBatchRequest) (int, error)
}

// ReleaseActivity is the type of the Release activity. The recorded histories of
// workflows have this name.
const ReleaseActivity = "LetGo"

// Releaser holds the dependencies of the Release activity. Safe for concurrent use.
type Releaser struct {
	Store     ReleaseStore
	Workflows Signaller
	Apps      refresh.Apps
}

// ReleaseResult says how many were called, and how many could not be: those the
// sweep finds.
type ReleaseResult struct {
	Signalled    int `json:"called"`
	NotSignalled int `json:"not_told,omitempty"`
}

const (
	releasePage   = 500
	releaseAtOnce = 8
	releaseEvery  = time.Second
	// releaseAhead is how much of a release may be called and not gone yet. A workflow
	// task that waits for longer than the sticky timeout is given to another worker,
	// which replays it: called faster than they can go, connections go at half the pace.
	releaseAhead = 2 * time.Second
	// letGoStalled is after how many looks at which none had gone the others are called
	// all the same.
	releaseStalled = 10
)

// LetGo wakes the workflows of an app's waiting connections, each when its turn has
// come and most of those before it have gone, until the release is over: they sleep
// until the time that they were told while the circuit was open; of an app with
// pacers, those that the pacers do not take. Their turns are as far apart as the
// release's rate has them. It heartbeats, and goes on where the try before it was; run
// twice at once it does no harm.
func (c *Releaser) Release(ctx context.Context, app string) (out ReleaseResult, err error) {
	a, _ := c.Apps.App(app) // unknown here: its workflows may run elsewhere
	req := store.ReleaseBatchRequest{App: app, Pooled: a.Pacers > 0}
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &req.After) // unreadable: from the beginning
	}
	state, err := c.Store.AppState(ctx, app)
	if err != nil {
		return out, err
	}
	rate := store.ReleaseRate(a.MaxRefreshesPerSecond, state.Connections[perennial.StatusActive])
	calls := releaseProgress{ahead: max(int(rate*releaseAhead.Seconds()), 1), gone: math.MinInt}
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		still, err := c.Store.SignalledNotRefreshed(ctx, req)
		if err != nil {
			return out, err
		}
		more := true
		if req.Limit = min(calls.room(still), releasePage); req.Limit > 0 {
			var page []perennial.Connection
			if page, more, err = c.Store.ReleaseBatch(ctx, req); err != nil {
				return out, err
			}
			notTold := c.signal(ctx, page)
			out.Signalled, out.NotSignalled = out.Signalled+len(page)-notTold, out.NotSignalled+notTold
			calls.made += len(page)
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

// calls knows how far those who were called have gone.
type releaseProgress struct {
	ahead   int // may have been called and wait still
	made    int
	gone    int // the most that had
	stalled int // looks since that grew
}

// room is how many may be called now, with so many waiting that were called before.
func (c *releaseProgress) room(still int) int {
	c.stalled++
	if gone := c.made - still; gone > c.gone {
		c.gone, c.stalled = gone, 0
	}
	if c.stalled >= releaseStalled {
		return c.ahead // they do not come, and nobody waits for them
	}
	return c.ahead - still
}

// tell nudges a page's workflows and returns how many it could not.
func (c *Releaser) signal(ctx context.Context, page []perennial.Connection) (notTold int) {
	failed := make([]error, len(page))
	var g errgroup.Group
	g.SetLimit(releaseAtOnce)
	for i, one := range page {
		g.Go(func() error {
			failed[i] = c.Workflows.Signal(ctx, one, nudge)
			return nil
		})
	}
	_ = g.Wait() // each has its own error
	for i, err := range failed {
		if err != nil {
			notTold++
			activity.GetLogger(ctx).Warn("workflow not called; the sweep finds it", "connection_id", page[i].ID, "error", fmt.Sprint(err))
		}
	}
	return notTold
}
