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

// fallback keeps connections alive while Temporal does not answer: it refreshes overdue
// connections in this process, see [refresh.Fallback].
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
	fallbackEvery  = 5 * time.Second  // between two passes
	fallbackAfter  = 15 * time.Second // of silence make Temporal count as away
	fallbackGrace  = time.Second      // after its due time a connection is refreshed
	fallbackLimit  = 200              // connections in one pass
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

// run makes passes until ctx ends.
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
			b.log.Warn("Temporal is away: this process refreshes due connections itself", "away", away)
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

// look refreshes overdue connections, a few at once.
func (b *fallback) look(ctx context.Context) {
	due, err := b.rows.Overdue(ctx, fallbackGrace, fallbackLimit)
	if err != nil {
		b.log.Error("overdue connections cannot be read", "error", err)
		return
	}
	slots := make(chan struct{}, fallbackAtOnce)
	var all sync.WaitGroup
	for _, c := range due {
		if refresh.LeftToWorkflow(c) {
			continue
		}
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if _, err := refresh.Fallback(ctx, b.engine, c, func(save func()) { save() }); err != nil {
				b.log.Error("not refreshed while Temporal is away", "connection_id", c.ID, "error", err)
			}
		})
	}
	all.Wait()
}
