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
func (r *run) onSignal(ctx workflow.Context) error {
	if r.loading && r.servesToTheEnd(ctx) {
		if err := r.load(ctx); err != nil {
			return err
		}
	}
	return r.load(ctx)
}

// load reads the row. Many may ask at once; one activity runs.
func (r *run) load(ctx workflow.Context) error {
	if r.loading {
		seen := r.loads
		return workflow.Await(ctx, func() bool { return r.loads > seen })
	}
	r.loading = true
	defer func() { r.loading = false; r.loads++ }()
	req := activities.LoadRequest{ConnectionID: r.state.ConnectionID, Since: r.state.Digested}
	var v activities.View
	if r.local && workflow.ExecuteLocalActivity(r.locally(ctx, loadTimeout, "read the row"), acts.Load, req).Get(ctx, &v) == nil {
		r.applyView(ctx, v)
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
	r.applyView(ctx, v)
	return nil
}

// locally is for one try of a local activity; the activity of the same name has
// the retries.
func (r *run) locally(ctx workflow.Context, timeout time.Duration, summary string) workflow.Context {
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
func (r *run) refresh(ctx workflow.Context, req activities.RefreshRequest) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.retrySetAside(ctx) {
		return nil
	}
	req.ConnectionID, req.Generation = r.state.ConnectionID, r.state.Generation
	if r.local {
		req.App = r.view.App
		if done, err := r.refreshLocally(ctx, req); done || err != nil {
			return err
		}
	}
	return r.refreshRemotely(ctx, req)
}

// refreshLocally tries once, inside this workflow task. done is false where the
// activity is to go on: the store could not be asked, or another try is due within
// a minute.
func (r *run) refreshLocally(ctx workflow.Context, req activities.RefreshRequest) (done bool, err error) {
	// A request on its way is not cancelled; what it brings is taken in.
	detached, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var res activities.RefreshResult
	err = workflow.ExecuteLocalActivity(r.locally(detached, r.Timing.StartToClose, fmt.Sprintf("generation %d", req.Generation)), acts.RefreshLocally, req).Get(detached, &res)
	if err != nil {
		return false, nil // it is on record, and the activity tells it again
	}
	if res.Code == refresh.CodeUnsaved {
		// The tokens were sent here before the activity ended; they come with the
		// next workflow task.
		_, err = workflow.AwaitWithTimeout(detached, unsavedTimeout, r.hasUnstored)
		r.receiveUnsaved(ctx)
		if err == nil && len(r.unstored) == 0 {
			r.ended(ctx, res)
			err = r.load(ctx) // they were stored after all
		}
		return true, err
	}
	r.ended(ctx, res)
	r.applyView(ctx, res.View)
	return !res.Again || req.Once, nil
}

// ended takes note of a refresh.
func (r *run) ended(ctx workflow.Context, res activities.RefreshResult) {
	r.last = res
	r.refreshes++
	r.cycles++
	r.requested.ReceiveAsync(nil) // whoever asked meanwhile shares this one
	r.state.remember(RecentRefresh{At: workflow.Now(ctx).UTC(), Outcome: res.Outcome, Code: res.Code, Generation: res.View.Generation})
}

// refreshRemotely runs one Refresh activity. A message cancels it: a backing-off
// one ends at once, a running one is waited for, and either way the row is read
// again.
func (r *run) refreshRemotely(ctx workflow.Context, req activities.RefreshRequest) error {
	r.inActivity = true
	defer func() { r.inActivity = false }()
	actCtx, cancel := workflow.WithCancel(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: r.Timing.StartToClose,
		WaitForCancellation: true, // else the result of a running refresh is dropped
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 30 * time.Second},
		Summary:             fmt.Sprintf("generation %d", req.Generation),
	}))
	defer cancel()
	done, message := false, false
	f := workflow.ExecuteActivity(actCtx, acts.Refresh, req)
	sel := workflow.NewSelector(ctx)
	sel.AddFuture(f, func(workflow.Future) { done = true })
	r.listen(ctx, sel, func() { message = true; cancel() })
	for !done {
		sel.Select(ctx)
	}
	var res activities.RefreshResult
	err := f.Get(ctx, &res)
	if err == nil && res.Unsaved != nil {
		var stored bool
		if res, stored, err = r.persist(ctx, *res.Unsaved); err == nil && !stored {
			res = activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, View: r.view}
			message = true // the row is read again
		}
	}
	r.last = res
	r.refreshes++
	r.requested.ReceiveAsync(nil) // whoever asked meanwhile shares this one
	defer func() { r.cycles++ }()
	switch {
	case err == nil:
		r.state.remember(RecentRefresh{At: workflow.Now(ctx).UTC(), Outcome: res.Outcome, Code: res.Code, Generation: res.View.Generation})
		r.applyView(ctx, res.View)
		if !message {
			return nil
		}
	case temporal.IsCanceledError(err) && ctx.Err() != nil:
		return err // the workflow itself is cancelled
	case !temporal.IsCanceledError(err):
		// Cancelled while it ran, and its worker died: it is not retried, and only
		// its timeout comes back. The row says when to look again.
		workflow.GetLogger(ctx).Error("refresh activity ended without a result", "error", err)
		if !r.changed(ctx, changeNoBlindMinute) {
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return err
			}
		}
		r.last = activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: "activity_failed"} // so that it is never a busy loop
	}
	return r.load(ctx)
}

// listen adds every signal to sel; hit is called for the one received.
func (r *run) listen(ctx workflow.Context, sel workflow.Selector, hit func()) {
	for _, ch := range r.signals {
		sel.AddReceive(ch, func(ch workflow.ReceiveChannel, _ bool) {
			ch.Receive(ctx, nil)
			r.messages++
			hit()
		})
	}
	sel.AddReceive(r.unsaved, func(workflow.ReceiveChannel, bool) {
		r.receiveUnsaved(ctx)
		hit()
	})
}

// absorb takes in what the row says, and shows it.
func (r *run) applyView(ctx workflow.Context, v activities.View) {
	if r.known && v.RefreshCount > r.view.RefreshCount {
		r.state.Refreshes += v.RefreshCount - r.view.RefreshCount
	}
	if v.Summary != nil {
		r.state.Digested = v.Summary.To
	}
	r.view, r.known = v, true
	if c := (perennial.Connection{Generation: v.Generation}); !v.Gone && !c.Behind(r.state.Generation) {
		r.state.Generation = v.Generation // the highest seen, unless no restore takes back so much
	}
	r.due = workflow.Now(ctx).Add(v.Wait)
	r.show(ctx)
}
