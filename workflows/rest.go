package workflows

import (
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/workflow"
)

type waker int

const (
	wokenByTimer waker = iota
	wokenByMessage
	wokenByRequest
)

// rest is one wait for the due time, a message or a request.
type rest struct {
	selector workflow.Selector // nil: somebody has written already
	cancel   workflow.CancelFunc
	by       waker
}

// rest begins to wait; see [life.wake].
func (l *life) rest(ctx workflow.Context) *rest {
	if l.drain() || l.holds() {
		return &rest{by: wokenByMessage}
	}
	// Called in: it goes in this workflow task.
	if l.view.Turn && l.last.Outcome == perennial.OutcomeHeld {
		return &rest{by: wokenByTimer}
	}
	wait := l.view.Wait
	if wait < leastRest && l.last.Outcome != "" && l.last.Outcome != perennial.OutcomeRefreshed {
		wait = leastRest // whatever the row says, failing is never a busy loop
	}
	l.due = workflow.Now(ctx).Add(wait)
	timerCtx, cancel := workflow.WithCancel(ctx)
	r := &rest{selector: workflow.NewSelector(ctx), cancel: cancel}
	r.selector.AddFuture(workflow.NewTimerWithOptions(timerCtx, wait, workflow.TimerOptions{Summary: l.timerSummary()}), func(workflow.Future) {})
	r.selector.AddReceive(l.asked, func(ch workflow.ReceiveChannel, _ bool) {
		ch.Receive(ctx, nil)
		r.by = wokenByRequest
	})
	l.listen(ctx, r.selector, func() { r.by = wokenByMessage })
	return r
}

// wake ends a rest and says what ended it. Messages win: they may have changed
// what is due.
func (l *life) wake(r *rest) waker {
	if r.selector == nil {
		return r.by
	}
	defer r.cancel()
	if l.drain() || l.holds() {
		return wokenByMessage
	}
	return r.by
}

// listen adds every signal to sel; hit is called for the one received.
func (l *life) listen(ctx workflow.Context, sel workflow.Selector, hit func()) {
	for _, ch := range l.signals {
		sel.AddReceive(ch, func(ch workflow.ReceiveChannel, _ bool) {
			ch.Receive(ctx, nil)
			l.messages++
			hit()
		})
	}
	sel.AddReceive(l.unsaved, func(ch workflow.ReceiveChannel, _ bool) {
		l.take(ctx, ch)
		hit()
	})
}

// take receives one sealed token set.
func (l *life) take(ctx workflow.Context, ch workflow.ReceiveChannel) {
	var unsaved store.SaveRequest
	ch.Receive(ctx, &unsaved)
	l.messages++
	l.kept = append(l.kept, unsaved)
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
