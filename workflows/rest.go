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
type rest struct {
	timer  workflow.Future // nil: there is nothing to wait for
	cancel workflow.CancelFunc
}

// rest begins to wait; see [life.wake].
func (l *life) rest(ctx workflow.Context) *rest {
	called := l.view.Turn && l.last.Outcome == perennial.OutcomeHeld // called in: it goes in this workflow task
	if called || l.told() || l.holds() {
		return &rest{}
	}
	wait := l.view.Wait
	if wait < leastRest && l.last.Outcome != "" && l.last.Outcome != perennial.OutcomeRefreshed {
		wait = leastRest // whatever the row says, failing is never a busy loop
	}
	l.due = workflow.Now(ctx).Add(wait)
	timerCtx, cancel := workflow.WithCancel(ctx)
	return &rest{workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: l.timerSummary()}), cancel}
}

// over reports whether a rest is.
func (l *life) over(r *rest) bool {
	return r.timer.IsReady() || l.asked.Len() > 0 || l.told() || l.holds()
}

// wake ends a rest and says what ended it. Messages win: they may have changed
// what is due.
func (l *life) wake(r *rest) waker {
	if r.cancel != nil {
		defer r.cancel()
	}
	switch {
	case l.drain() || l.holds():
		return wokenByMessage
	case r.timer == nil || r.timer.IsReady():
		return wokenByTimer
	default:
		l.asked.ReceiveAsync(nil)
		return wokenByRequest
	}
}

// holds reports whether a sealed token set waits to be stored.
func (l *life) holds() bool { return len(l.kept) > 0 || l.unsaved.Len() > 0 }

// timerSummary is what the Temporal UI shows beside a sleeping timer.
func (l *life) timerSummary() string {
	if l.view.Trigger == "" {
		return string(l.view.Status)
	}
	return fmt.Sprintf("%s, generation %d", l.view.Trigger, l.view.Generation)
}
