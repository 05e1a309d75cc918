package host

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// dispatchEvery is how often a worker looks for new events: so soon they are on
// their way. Where there are none it is one read of an index. The sweep does the
// same, should this loop end.
const dispatchEvery = 2 * time.Second

// dispatchTimeout bounds one look.
const dispatchTimeout = 30 * time.Second

// dispatchSoon has new events delivered until the returned function is called.
func dispatchSoon(ctx context.Context, dispatch func(context.Context) (int, error), log *slog.Logger) (stop func()) {
	return inBackground(ctx, func(ctx context.Context) {
		// Workers that started together do not look together.
		next := time.NewTimer(rand.N(dispatchEvery))
		defer next.Stop()
		failing := false
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
			}
			look, cancel := context.WithTimeout(ctx, dispatchTimeout)
			_, err := dispatch(look)
			cancel()
			if err != nil && !failing && ctx.Err() == nil { // once: it lasts as long as an outage
				log.Error("events are not delivered at present", "error", err)
			}
			failing = err != nil
			next.Reset(dispatchEvery)
		}
	})
}
