package wiring

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial/provider"
)

const (
	// movedAtOnce bounds the rows that one transaction locks.
	movedAtOnce = 500
	// movedAgain is the wait after a failure.
	movedAgain = time.Minute
)

// hostMover is what moveHosts needs of the store.
type hostMover interface {
	MoveHost(ctx context.Context, app, host string, limit int) (int, error)
}

// moveHosts moves the connections of each app to the host of its token endpoint, once a
// worker starts: the configuration may have moved it. Apps whose accounts have hosts of
// their own stay as they are.
func (d *Deps) moveHosts(ctx context.Context) {
	for _, app := range d.Config.Apps {
		if done, err := d.Config.App(app.Name); err == nil {
			app = done // with its provider's metadata; without them it has no host yet
		}
		for ctx.Err() == nil {
			err := moveHost(ctx, d.Store, app)
			if err == nil {
				break
			}
			d.Log.Warn("connections are still at the app's old host", "app", app.Name, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(movedAgain):
			}
		}
	}
}

// MoveHost moves the connections of an app to the host of its token endpoint now.
func (d *Deps) MoveHost(ctx context.Context, app provider.App) error {
	return moveHost(ctx, d.Store, app)
}

func moveHost(ctx context.Context, rows hostMover, app provider.App) error {
	host := app.Provider.Host()
	if host == "" {
		return nil
	}
	for {
		moved, err := rows.MoveHost(ctx, app.Name, host, movedAtOnce)
		if moved == 0 || err != nil {
			return err
		}
	}
}
