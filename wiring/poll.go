package wiring

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// soonEvery is how often a worker looks for what is to be done soon: new events to
// deliver, connections to let go. Where there is nothing it is one read of an index
// or of a small table. The sweep does the same, should this loop end.
const pollEvery = 2 * time.Second

// soonTimeout bounds one look.
const pollTimeout = 30 * time.Second

// soon looks again and again until the returned function is called; failing is what
// is logged where that does not go.
func poll(ctx context.Context, look func(context.Context) error, failing string, log *slog.Logger) (stop func()) {
	return inBackground(ctx, func(ctx context.Context) {
		// Workers that started together do not look together.
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
			if err != nil && !told && ctx.Err() == nil { // once: it lasts as long as an outage
				log.Error(failing, "error", err)
			}
			told = err != nil
			next.Reset(pollEvery)
		}
	})
}
