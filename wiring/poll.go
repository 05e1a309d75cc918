package wiring

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// pollEvery is how often a worker checks for new events to deliver and connections to
// release. If there is nothing, a check is one read of an index or of a small table. If
// this loop ended, the sweep would do the same work.
const pollEvery = 2 * time.Second

// pollTimeout bounds one check.
const pollTimeout = 30 * time.Second

// poll runs look repeatedly until the returned function is called. It logs failing if
// look fails.
func poll(ctx context.Context, look func(context.Context) error, failing string, log *slog.Logger) (stop func()) {
	return inBackground(ctx, func(ctx context.Context) {
		// Workers that started together should not poll together.
		next := time.NewTimer(rand.N(pollEvery))
		defer next.Stop()
		told := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
			}
			bounded, cancel := context.WithTimeout(ctx, pollTimeout)
			err := look(bounded)
			cancel()
			if err != nil && !told && ctx.Err() == nil { // log it once: it lasts as long as an outage
				log.Error(failing, "error", err)
			}
			told = err != nil
			next.Reset(pollEvery)
		}
	})
}
