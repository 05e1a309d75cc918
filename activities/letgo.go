package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"
)

// LetGoStore finds the connections whose turn it is; store.Store in production.
type LetGoStore interface {
	LetGo(ctx context.Context, app string, after store.Turn, limit int) (cs []perennial.Connection, more bool, err error)
}

// Caller holds the dependencies of the LetGo activity. Safe for concurrent use.
type Caller struct {
	Store     LetGoStore
	Workflows Teller
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
)

// LetGo wakes the workflows of an app's waiting connections, each when its turn has
// come, until the release is over: they sleep until the time that they were told
// while the circuit was open. Their turns are as far apart as the release's rate
// has them. It heartbeats, and goes on where the try before it was; run twice at
// once it does no harm.
func (c *Caller) LetGo(ctx context.Context, app string) (out LetGoResult, err error) {
	var at store.Turn
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &at) // unreadable: from the beginning
	}
	tick := time.NewTicker(letGoEvery)
	defer tick.Stop()
	for {
		page, more, err := c.Store.LetGo(ctx, app, at, letGoPage)
		if err != nil {
			return out, err
		}
		notTold := c.tell(ctx, page)
		out.Called, out.NotTold = out.Called+len(page)-notTold, out.NotTold+notTold
		if n := len(page); n > 0 {
			at = store.Turn{At: page[n-1].NextAttemptAt, ID: page[n-1].ID}
		}
		activity.RecordHeartbeat(ctx, at)
		if !more {
			return out, nil
		}
		if len(page) == letGoPage {
			continue
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return out, ctx.Err()
		}
	}
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
