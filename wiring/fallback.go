package wiring

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"go.temporal.io/sdk/client"
)

// beside keeps connections alive while Temporal does not answer: this process
// asks the engine itself for what is overdue. The row is the fence there too, so
// it does no harm where other workers reach Temporal. Unknown outcomes and
// refusals are left to the workflows.
type fallback struct {
	engine  *refresh.Engine
	rows    overdue
	healthy func(context.Context) bool // Temporal answers
	shown   func(bool)                 // for metrics
	log     *slog.Logger
}

type overdue interface {
	Overdue(ctx context.Context, grace time.Duration, limit int) ([]perennial.Connection, error)
}

const (
	fallbackEvery  = 5 * time.Second  // between two looks
	fallbackAfter  = 15 * time.Second // of silence Temporal counts as away
	fallbackGrace  = time.Second      // after its due time a connection is taken
	fallbackLimit  = 200              // connections in one look
	fallbackAtOnce = 8
)

func temporalHealthy(t client.Client) func(context.Context) bool {
	return func(ctx context.Context) bool {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		_, err := t.CheckHealth(ctx, &client.CheckHealthRequest{})
		return err == nil
	}
}

// run looks until ctx ends.
func (b *fallback) run(ctx context.Context) {
	answered := time.Now()
	away := false
	tick := time.NewTicker(fallbackEvery)
	defer tick.Stop()
	for {
		if b.healthy(ctx) {
			answered = time.Now()
		}
		if now := time.Since(answered) > fallbackAfter; now != away && ctx.Err() == nil {
			away = now
			b.shown(away)
			b.log.Warn("Temporal is away: due connections are refreshed beside it", "away", away)
		}
		if away {
			b.look(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look refreshes what is overdue, a few at once.
func (b *fallback) look(ctx context.Context) {
	due, err := b.rows.Overdue(ctx, fallbackGrace, fallbackLimit)
	if err != nil {
		b.log.Error("overdue connections cannot be read", "error", err)
		return
	}
	slots := make(chan struct{}, fallbackAtOnce)
	var all sync.WaitGroup
	for _, c := range due {
		if c.Ambiguous() || c.Suspect() || !c.Open.IsZero() {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			res, err := b.engine.Refresh(ctx, refresh.Request{ConnectionID: c.ID, App: c.App, Generation: c.Generation, Trigger: perennial.TriggerFallback})
			if err != nil {
				b.log.Error("not refreshed beside Temporal", "connection_id", c.ID, "error", err)
			}
			if res.Unsaved != nil { // there is no workflow that holds it
				_ = b.engine.SaveLater(context.WithoutCancel(ctx), *res.Unsaved) // ends when it is kept
			}
		})
	}
	all.Wait()
}
