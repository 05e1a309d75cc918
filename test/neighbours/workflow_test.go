package neighbours

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// flow is the workflow of one connection.
type flow struct {
	id     string
	worker *worker
	nudged chan struct{} // has one entry: several signals are one read of the row
	kill   chan struct{} // closed: its worker died
}

// shortestSleep is the shortest sleep of a workflow after a refresh that brought
// nothing, and longestRetry the longest pause between two tries while the store does not
// answer: those of package workflows.
const (
	shortestSleep = time.Second
	longestRetry  = 30 * time.Second
)

// run reads the row, sleeps until it is due, and refreshes it, as the workflow in
// package workflows does: a view of the row from timing.Wake, or of the pacers' if they
// refresh it; a nudge makes it read the row again; a result brings its own view.
func (f *flow) run(ctx context.Context, w *world) {
	failures := 0
	row, now, err := f.worker.store.Get(ctx, perennial.WorkerAccess(), f.id)
	var last perennial.Outcome
	var highest int64 // the generation in the workflow's own state
	for ctx.Err() == nil {
		if err != nil {
			failures++
			if !f.sleep(ctx, min(time.Second<<min(failures-1, 5), longestRetry)) {
				return
			}
			row, now, err = f.worker.store.Get(ctx, perennial.WorkerAccess(), f.id)
			continue
		}
		failures = 0
		highest = max(highest, row.Generation)
		if row.Status == perennial.StatusDisconnected {
			return
		}
		at, trigger := timing.Wake(row, now)
		if w.apps[row.App].Pacers > 0 && refresh.OwnedByPacer(row, now) {
			at, trigger = refresh.SummaryAt(row.ID, now), ""
		}
		wait := max(at.Sub(now), 0)
		if last != "" && last != perennial.OutcomeRefreshed {
			wait = max(wait, shortestSleep)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-f.kill:
			timer.Stop()
			return
		case <-f.nudged:
			timer.Stop()
			last = ""
			row, now, err = f.worker.store.Get(ctx, perennial.WorkerAccess(), f.id)
			continue
		case <-timer.C:
		}
		if trigger == "" {
			last = ""
			row, now, err = f.worker.store.Get(ctx, perennial.WorkerAccess(), f.id)
			continue
		}
		var res refresh.Result
		res, err = f.worker.engine.Refresh(ctx, refresh.Request{ConnectionID: f.id, App: row.App, Generation: highest, Floor: highest, Trigger: trigger})
		if res.Outcome == perennial.OutcomeNotFound {
			return
		}
		row, now, last = res.Connection, res.Now, res.Outcome
	}
}

// sleep waits for d, or until the workflow ends.
func (f *flow) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-f.kill:
	case <-ctx.Done():
	}
	return false
}

// Signal nudges the workflow of a connection, and starts it if it does not run. It is
// an activities.Signaller.
func (w *world) Signal(_ context.Context, c perennial.Connection, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nudge(c.ID)
	return nil
}

// nudge does so with w locked.
func (w *world) nudge(id string) {
	if w.ctx.Err() != nil {
		return
	}
	f := w.flows[id]
	if f == nil {
		f = &flow{id: id, worker: w.workers[len(w.flows)%len(w.workers)], nudged: make(chan struct{}, 1), kill: make(chan struct{})}
		w.flows[id] = f
		w.all.Go(func() {
			f.run(w.ctx, w)
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.flows[id] == f {
				delete(w.flows, id)
			}
		})
		return
	}
	select {
	case f.nudged <- struct{}{}:
	default:
	}
}
