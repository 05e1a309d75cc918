package workflows

import (
	"fmt"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/workflow"
)

type waker int

const (
	wokenByTimer waker = iota
	wokenByMessage
	wokenByRequest
)

// rest is one wait for the due time, a message or a request. What it waits for stays
// where it is until [life.wake]: an update's validator runs before this goroutine
// does, also for a message that came in the same workflow task, and a channel from
// which somebody receives has none to show.
type waiting struct {
	timer  workflow.Future // nil: there is nothing to wait for
	cancel workflow.CancelFunc
}

// rest begins to wait; see [life.wake].
func (r *run) wait(ctx workflow.Context) *waiting {
	called := r.view.SlotGranted && r.last.Outcome == perennial.OutcomeThrottled // called in: it goes in this workflow task
	if called || r.signalled() || r.hasUnstored() {
		return &waiting{}
	}
	wait := r.view.Wait
	if wait < minWait && r.last.Outcome != "" && r.last.Outcome != perennial.OutcomeRefreshed {
		wait = minWait // whatever the row says, failing is never a busy loop
	}
	r.due = workflow.Now(ctx).Add(wait)
	timerCtx, cancel := workflow.WithCancel(ctx)
	return &waiting{workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: r.timerSummary()}), cancel}
}

// over reports whether a rest is.
func (r *run) ready(w *waiting) bool {
	return w.timer.IsReady() || r.requested.Len() > 0 || r.signalled() || r.hasUnstored()
}

// wake ends a rest and says what ended it. Messages win: they may have changed
// what is due.
func (r *run) wake(w *waiting) waker {
	if w.cancel != nil {
		defer w.cancel()
	}
	switch {
	case r.drain() || r.hasUnstored():
		return wokenByMessage
	case w.timer == nil || w.timer.IsReady():
		return wokenByTimer
	default:
		r.requested.ReceiveAsync(nil)
		return wokenByRequest
	}
}

// holds reports whether a sealed token set waits to be stored.
func (r *run) hasUnstored() bool { return len(r.unstored) > 0 || r.unsaved.Len() > 0 }

// timerSummary is what the Temporal UI shows beside a sleeping timer.
func (r *run) timerSummary() string {
	if r.view.Trigger == "" {
		return string(r.view.Status)
	}
	return fmt.Sprintf("%s, generation %d", r.view.Trigger, r.view.Generation)
}
