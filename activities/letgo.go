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
type LetGoStore interface {
	AppState(ctx context.Context, app string) (store.AppState, error)
	LetGo(ctx context.Context, req store.LetGoRequest) (cs []perennial.Connection, more bool, err error)
	Called(ctx context.Context, req store.LetGoRequest) (int, error)
}

// Caller holds the dependencies of the LetGo activity. Safe for concurrent use.
type Caller struct {
	Store     LetGoStore
	Workflows Teller
	Apps      refresh.Apps
}

// LetGoResult says how many were called, and how many could not be: those the
// sweep finds.
type LetGoResult struct {
	Called  int `json:"called"`
	NotTold int `json:"not_told,omitempty"`
}

const (
	letGoPage   = 500
	letGoAtOnce = 8
	letGoEvery  = time.Second
	// letGoAhead is how much of a release may be called and not gone yet. A workflow
	// task that waits for longer than the sticky timeout is given to another worker,
	// which replays it: called faster than they can go, connections go at half the pace.
	letGoAhead = 2 * time.Second
	// letGoStalled is after how many looks at which none had gone the others are called
	// all the same.
	letGoStalled = 10
)

// LetGo wakes the workflows of an app's waiting connections, each when its turn has
// come and most of those before it have gone, until the release is over: they sleep
// until the time that they were told while the circuit was open; of an app with
// pacers, those that the pacers do not take. Their turns are as far apart as the
// release's rate has them. It heartbeats, and goes on where the try before it was; run
// twice at once it does no harm.
func (c *Caller) LetGo(ctx context.Context, app string) (out LetGoResult, err error) {
	a, _ := c.Apps.App(app) // unknown here: its workflows may run elsewhere
	req := store.LetGoRequest{App: app, Paced: a.Pacers > 0}
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &req.After) // unreadable: from the beginning
	}
	state, err := c.Store.AppState(ctx, app)
	if err != nil {
		return out, err
	}
	rate := store.ReleaseRate(a.MaxRefreshesPerSecond, state.Connections[perennial.StatusActive])
	calls := calls{ahead: max(int(rate*letGoAhead.Seconds()), 1), gone: math.MinInt}
	tick := time.NewTicker(letGoEvery)
	defer tick.Stop()
	for {
		still, err := c.Store.Called(ctx, req)
		if err != nil {
			return out, err
		}
		more := true
		if req.Limit = min(calls.room(still), letGoPage); req.Limit > 0 {
			var page []perennial.Connection
			if page, more, err = c.Store.LetGo(ctx, req); err != nil {
				return out, err
			}
			notTold := c.tell(ctx, page)
			out.Called, out.NotTold = out.Called+len(page)-notTold, out.NotTold+notTold
			calls.made += len(page)
			if n := len(page); n > 0 {
				req.After = store.Turn{At: page[n-1].NextAttemptAt, ID: page[n-1].ID}
			}
		}
		activity.RecordHeartbeat(ctx, req.After)
		if !more {
			return out, nil
		}
		if req.Limit == letGoPage {
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
type calls struct {
	ahead   int // may have been called and wait still
	made    int
	gone    int // the most that had
	stalled int // looks since that grew
}

// room is how many may be called now, with so many waiting that were called before.
func (c *calls) room(still int) int {
	c.stalled++
	if gone := c.made - still; gone > c.gone {
		c.gone, c.stalled = gone, 0
	}
	if c.stalled >= letGoStalled {
		return c.ahead // they do not come, and nobody waits for them
	}
	return c.ahead - still
}

// tell nudges a page's workflows and returns how many it could not.
func (c *Caller) tell(ctx context.Context, page []perennial.Connection) (notTold int) {
	failed := make([]error, len(page))
	var g errgroup.Group
	g.SetLimit(letGoAtOnce)
	for i, one := range page {
		g.Go(func() error {
			failed[i] = c.Workflows.Tell(ctx, one, nudge)
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
