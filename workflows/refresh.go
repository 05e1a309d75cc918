package workflows

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// hear reads the row because a message came: what was being read when it came is
// not enough, it may be from before.
func (l *life) hear(ctx workflow.Context) error {
	if l.loading && l.servesToTheEnd(ctx) {
		if err := l.load(ctx); err != nil {
			return err
		}
	}
	return l.load(ctx)
}

// load reads the row. Many may ask at once; one activity runs.
func (l *life) load(ctx workflow.Context) error {
	if l.loading {
		seen := l.loads
		return workflow.Await(ctx, func() bool { return l.loads > seen })
	}
	l.loading = true
	defer func() { l.loading = false; l.loads++ }()
	req := activities.LoadRequest{ConnectionID: l.state.ConnectionID, Since: l.state.Digested}
	var v activities.View
	if l.local && workflow.ExecuteLocalActivity(l.locally(ctx, loadTimeout, "read the row"), acts.Load, req).Get(ctx, &v) == nil {
		l.absorb(ctx, v)
		return nil
	}
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: loadTimeout,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 30 * time.Second},
		Summary:             "read the row",
	})
	if err := workflow.ExecuteActivity(ctx, acts.Load, req).Get(ctx, &v); err != nil {
		return fmt.Errorf("read the row: %w", err)
	}
	l.absorb(ctx, v)
	return nil
}

// locally is for one try of a local activity; the activity of the same name has
// the retries.
func (l *life) locally(ctx workflow.Context, timeout time.Duration, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: timeout,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                summary,
	})
}

// changeNoBlindMinute: a refresh that ended without a result was followed by a
// minute in which no message was heard, longer than some tokens had left.
var changeNoBlindMinute = change{"no-blind-minute", 1}

// refresh makes one refresh: in a local activity, and where that does not do in
// the Refresh activity.
func (l *life) refresh(ctx workflow.Context, req activities.RefreshRequest) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if l.retrySetAside(ctx) {
		return nil
	}
	req.ConnectionID, req.Generation = l.state.ConnectionID, l.state.Generation
	if l.local {
		req.App = l.view.App
		if done, err := l.refreshLocally(ctx, req); done || err != nil {
			return err
		}
	}
	return l.refreshRemotely(ctx, req)
}

// refreshLocally tries once, inside this workflow task. done is false where the
// activity is to go on: the store could not be asked, or another try is due within
// a minute.
func (l *life) refreshLocally(ctx workflow.Context, req activities.RefreshRequest) (done bool, err error) {
	// A request on its way is not cancelled; what it brings is taken in.
	detached, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var res activities.RefreshResult
	err = workflow.ExecuteLocalActivity(l.locally(detached, l.Timing.StartToClose, fmt.Sprintf("generation %d", req.Generation)), acts.RefreshLocally, req).Get(detached, &res)
	if err != nil {
		return false, nil // it is on record, and the activity tells it again
	}
	if res.Code == refresh.CodeUnsaved {
		// The tokens were sent here before the activity ended; they come with the
		// next workflow task.
		_, err = workflow.AwaitWithTimeout(detached, unsavedTimeout, l.holds)
		l.receive(ctx)
		if err == nil && len(l.kept) == 0 {
			l.ended(ctx, res)
			err = l.load(ctx) // they were stored after all
		}
		return true, err
	}
	l.ended(ctx, res)
	l.absorb(ctx, res.View)
	return !res.Again || req.Once, nil
}

// ended takes note of a refresh.
func (l *life) ended(ctx workflow.Context, res activities.RefreshResult) {
	l.last = res
	l.refreshes++
	l.cycles++
	l.asked.ReceiveAsync(nil) // whoever asked meanwhile shares this one
	l.state.remember(Recent{At: workflow.Now(ctx).UTC(), Outcome: res.Outcome, Code: res.Code, Generation: res.View.Generation})
}

// refreshRemotely runs one Refresh activity. A message cancels it: a backing-off
// one ends at once, a running one is waited for, and either way the row is read
// again.
func (l *life) refreshRemotely(ctx workflow.Context, req activities.RefreshRequest) error {
	l.away = true
	defer func() { l.away = false }()
	actCtx, cancel := workflow.WithCancel(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: l.Timing.StartToClose,
		WaitForCancellation: true, // else the result of a running refresh is dropped
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 30 * time.Second},
		Summary:             fmt.Sprintf("generation %d", req.Generation),
	}))
	defer cancel()
	done, message := false, false
	f := workflow.ExecuteActivity(actCtx, acts.Refresh, req)
	sel := workflow.NewSelector(ctx)
	sel.AddFuture(f, func(workflow.Future) { done = true })
	l.listen(ctx, sel, func() { message = true; cancel() })
	for !done {
		sel.Select(ctx)
	}
	var res activities.RefreshResult
	err := f.Get(ctx, &res)
	if err == nil && res.Unsaved != nil {
		var stored bool
		if res, stored, err = l.persist(ctx, *res.Unsaved); err == nil && !stored {
			res = activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, View: l.view}
			message = true // the row is read again
		}
	}
	l.last = res
	l.refreshes++
	l.asked.ReceiveAsync(nil) // whoever asked meanwhile shares this one
	defer func() { l.cycles++ }()
	switch {
	case err == nil:
		l.state.remember(Recent{At: workflow.Now(ctx).UTC(), Outcome: res.Outcome, Code: res.Code, Generation: res.View.Generation})
		l.absorb(ctx, res.View)
		if !message {
			return nil
		}
	case temporal.IsCanceledError(err) && ctx.Err() != nil:
		return err // the workflow itself is cancelled
	case !temporal.IsCanceledError(err):
		// Cancelled while it ran, and its worker died: it is not retried, and only
		// its timeout comes back. The row says when to look again.
		workflow.GetLogger(ctx).Error("refresh activity ended without a result", "error", err)
		if !l.changed(ctx, changeNoBlindMinute) {
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return err
			}
		}
		l.last = activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: "activity_failed"} // so that it is never a busy loop
	}
	return l.load(ctx)
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
	sel.AddReceive(l.unsaved, func(workflow.ReceiveChannel, bool) {
		l.receive(ctx)
		hit()
	})
}

// absorb takes in what the row says, and shows it.
func (l *life) absorb(ctx workflow.Context, v activities.View) {
	if l.known && v.RefreshCount > l.view.RefreshCount {
		l.state.Refreshes += v.RefreshCount - l.view.RefreshCount
	}
	if v.Digest != nil {
		l.state.Digested = v.Digest.To
	}
	l.view, l.known = v, true
	if c := (perennial.Connection{Generation: v.Generation}); !v.Gone && !c.Behind(l.state.Generation) {
		l.state.Generation = v.Generation // the highest seen, unless no restore takes back so much
	}
	l.due = workflow.Now(ctx).Add(v.Wait)
	l.show(ctx)
}
