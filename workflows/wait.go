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
	wokenByUpdates
)

// waiting is one wait for the due time, a signal or a request. It leaves signals and
// requests in their channels until [run.wake]: an update's validator runs before this
// goroutine, even for a signal of the same workflow task, and a channel with a pending
// receiver shows it no signal.
type waiting struct {
	timer  workflow.Future // nil: do not wait
	cancel workflow.CancelFunc
}

// wait starts a wait; see [run.wake].
func (r *run) wait(ctx workflow.Context) *waiting {
	granted := r.view.SlotGranted && r.last.Outcome == perennial.OutcomeThrottled // the app gave it a rate slot: it refreshes in this workflow task
	if granted || r.signalled() || r.hasUnstored() {
		return &waiting{}
	}
	wait := r.view.Wait
	if wait < minWait && r.last.Outcome != "" && r.last.Outcome != perennial.OutcomeRefreshed {
		wait = minWait // whatever the row says, a failing refresh never becomes a busy loop
	}
	r.due, r.checked = workflow.Now(ctx).Add(wait), false
	timerCtx, cancel := workflow.WithCancel(ctx)
	return &waiting{workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: r.timerSummary()}), cancel}
}

// ready reports whether the wait is over.
func (r *run) ready(w *waiting) bool {
	return w.timer.IsReady() || r.requested.Len() > 0 || r.signalled() || r.hasUnstored() || r.crowded || r.askedToEnd()
}

// changeEndOnSignal: before it, the workflow did not know [SignalContinueAsNew].
var changeEndOnSignal = change{"end-on-signal", 2}

// askedToEnd reports whether an operator wants the workflow to continue as new.
func (r *run) askedToEnd() bool { return !r.deaf && r.ends.Len() > 0 }

// ignoresEnd reports whether the wait goes on although an operator wants the run to end:
// this run began before it knew the signal.
func (r *run) ignoresEnd(ctx workflow.Context) bool {
	if r.askedToEnd() && !r.changed(ctx, changeEndOnSignal) {
		r.deaf = true
		return true
	}
	return false
}

// wake ends a wait and returns what ended it. Signals win, because they may have
// changed what is due.
func (r *run) wake(w *waiting) waker {
	if w.cancel != nil {
		defer w.cancel()
	}
	r.crowded = r.crowded || r.askedToEnd()
	switch {
	case r.drain() || r.hasUnstored():
		return wokenByMessage
	case w.timer == nil || w.timer.IsReady():
		return wokenByTimer
	case r.requested.ReceiveAsync(nil):
		return wokenByRequest
	default:
		return wokenByUpdates
	}
}

// hasUnstored reports whether a sealed token set waits to be stored.
func (r *run) hasUnstored() bool { return len(r.unstored) > 0 || r.unsaved.Len() > 0 }

// timerSummary is the text beside the sleeping timer in the Temporal UI.
func (r *run) timerSummary() string {
	if r.view.Trigger == "" {
		return string(r.view.Status)
	}
	return fmt.Sprintf("%s, generation %d", r.view.Trigger, r.view.Generation)
}
