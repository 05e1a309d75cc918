package workflows

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// onSignal reads the row after a signal. A read that was running when the signal
// arrived does not count, because it may show the row from before.
func (r *run) onSignal(ctx workflow.Context) error {
	if r.loading && r.servesToTheEnd(ctx) {
		if err := r.load(ctx); err != nil {
			return err
		}
	}
	return r.load(ctx)
}

// load reads the row. Concurrent callers share one activity.
func (r *run) load(ctx workflow.Context) error {
	if r.loading {
		seen := r.loads
		return workflow.Await(ctx, func() bool { return r.loads > seen })
	}
	r.loading = true
	defer func() { r.loading = false; r.loads++ }()
	req := r.loadRequest()
	var v activities.View
	locally := req
	locally.Shown = r.shown(ctx)
	if r.local {
		err := workflow.ExecuteLocalActivity(r.locally(ctx, loadTimeout, "read the row"), acts.Load, locally).Get(ctx, &v)
		r.settle(v.Revision)
		if err == nil {
			r.applyLocalView(ctx, v)
			return nil
		}
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

func (r *run) loadRequest() activities.LoadRequest {
	return activities.LoadRequest{ConnectionID: r.state.ConnectionID, Since: r.state.Digested, Known: r.knows()}
}

// locally returns a context for one try of a local activity. The activity of the same
// name has the retries.
func (r *run) locally(ctx workflow.Context, timeout time.Duration, summary string) workflow.Context {
	return workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: timeout,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                summary,
	})
}

// changeNoBlindMinute: before it, a minute without listening followed a refresh that
// ended without a result, which is longer than some tokens had left.
var changeNoBlindMinute = change{"no-blind-minute", 1}

// refresh makes one refresh: in a local activity, or in the Refresh activity if that
// gives up.
func (r *run) refresh(ctx workflow.Context, req activities.RefreshRequest) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if r.retrySetAside(ctx) {
		return nil
	}
	req = r.complete(req)
	if r.local {
		if done, err := r.refreshLocally(ctx, req); done || err != nil {
			return err
		}
	}
	return r.refreshRemotely(ctx, req)
}

// complete adds the run's own knowledge to a request.
func (r *run) complete(req activities.RefreshRequest) activities.RefreshRequest {
	req.ConnectionID, req.Generation, req.Known = r.state.ConnectionID, r.state.Generation, r.knows()
	if r.local {
		req.App = r.view.App
	}
	return req
}

// refreshLocally tries once, inside this workflow task. done is false if the Refresh
// activity should take over: the store did not answer, or another try is due within a
// minute.
func (r *run) refreshLocally(ctx workflow.Context, req activities.RefreshRequest) (done bool, err error) {
	// A cancellation does not stop a request that is under way; the workflow receives
	// its result.
	detached, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	req.Shown = r.shown(ctx)
	var res activities.RefreshResult
	err = workflow.ExecuteLocalActivity(r.locally(detached, r.Timing.StartToClose, summaryOf(req)), acts.RefreshLocally, req).Get(detached, &res)
	if err != nil {
		return false, nil // the attempt is on record, and the activity reports it again
	}
	if res.Code == refresh.CodeUnsaved {
		// The activity sent the tokens here as a signal before it ended; they arrive
		// with the next workflow task.
		_, err = workflow.AwaitWithTimeout(detached, unsavedTimeout, r.hasUnstored)
		r.receiveUnsaved(ctx)
		if err == nil && len(r.unstored) == 0 {
			r.ended(ctx, res)
			err = r.load(ctx) // somebody has stored them meanwhile
		}
		return true, err
	}
	r.ended(ctx, res)
	r.applyLocalView(ctx, res.View)
	return !res.Again || req.Once, nil
}

// summaryOf is the text beside a refresh in the Temporal UI. It names what a product
// reported.
func summaryOf(req activities.RefreshRequest) string {
	text := fmt.Sprintf("generation %d", req.Generation)
	if req.Trigger.Reported() {
		text += ", reported: " + string(req.Trigger)
	}
	return text
}

// shown asks a local activity which search attributes to set and which to leave out. What
// the server says of the run's attributes reaches no command: the answer does, which stands
// in the history.
func (r *run) shown(ctx workflow.Context) activities.Shown {
	//lint:ignore SA1019 the typed ones leave out what has no type
	fields := workflow.GetInfo(ctx).SearchAttributes.GetIndexedFields()
	names := slices.Sorted(maps.Keys(fields)) //workflowcheck:ignore -- they are sorted
	return activities.Shown{Asked: true, Values: r.state.Shown, Names: names}
}

// ended records the end of a refresh.
func (r *run) ended(ctx workflow.Context, res activities.RefreshResult) {
	r.last = res
	r.refreshes++
	r.cycles++
	r.requested.ReceiveAsync(nil) // a request that arrived meanwhile shares this refresh
	r.state.remember(recent(workflow.Now(ctx), res))
}

func recent(at time.Time, res activities.RefreshResult) RecentRefresh {
	return RecentRefresh{At: at.UTC(), Outcome: res.Outcome, Code: res.Code, Generation: res.View.Generation, Reported: res.Reported}
}

// refreshRemotely runs one Refresh activity. A signal cancels it: an activity that is
// backing off ends at once, a running one finishes first. Either way the workflow reads
// the row again.
func (r *run) refreshRemotely(ctx workflow.Context, req activities.RefreshRequest) error {
	r.inActivity = true
	defer func() { r.inActivity = false }()
	actCtx, cancel := workflow.WithCancel(workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: r.Timing.StartToClose,
		WaitForCancellation: true, // otherwise the result of a running refresh would be lost
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 30 * time.Second},
		Summary:             summaryOf(req),
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
			res = r.notStored()
			message = true // the row is read again
		}
	}
	r.last = res
	r.refreshes++
	r.requested.ReceiveAsync(nil) // a request that arrived meanwhile shares this refresh
	defer func() { r.cycles++ }()
	switch {
	case err == nil:
		r.state.remember(recent(workflow.Now(ctx), res))
		r.applyView(ctx, res.View)
		if !message {
			return nil
		}
	case temporal.IsCanceledError(err) && ctx.Err() != nil:
		return err // the workflow itself is cancelled
	case !temporal.IsCanceledError(err):
		// It was cancelled while it ran, and its worker died. Temporal does not retry
		// it; only its timeout comes back. The row says when to try again.
		workflow.GetLogger(ctx).Error("refresh activity ended without a result", "error", err)
		if !r.changed(ctx, changeNoBlindMinute) {
			if err := workflow.Sleep(ctx, time.Minute); err != nil {
				return err
			}
		}
		r.last = activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: "activity_failed"} // this keeps it from becoming a busy loop
	}
	return r.load(ctx)
}

// notStored is the result of a refresh whose token set waits in the workflow.
func (r *run) notStored() activities.RefreshResult {
	return activities.RefreshResult{Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, View: r.view}
}

// listen adds every signal to sel and calls hit for each one received.
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

// applyView takes over what the row says, and shows it in the Temporal UI.
func (r *run) applyView(ctx workflow.Context, v activities.View) {
	r.takeOver(ctx, v)
	r.checked = false
	r.show(ctx, false)
}

// applyLocalView is applyView for the view of a local activity.
func (r *run) applyLocalView(ctx workflow.Context, v activities.View) {
	r.takeOver(ctx, v)
	r.show(ctx, true)
	r.forgetMissing(ctx)
	r.view.Upsert = nil // only once
	r.checked = true
}

func (r *run) takeOver(ctx workflow.Context, v activities.View) {
	r.learn(r.lookFor(ctx, v), workflow.Now(ctx))
}

// learn takes a view into the state and sets the time of the next wake.
func (r *run) learn(v activities.View, now time.Time) {
	if r.known && v.RefreshCount > r.view.RefreshCount {
		r.state.Refreshes += v.RefreshCount - r.view.RefreshCount
	}
	if v.Summary != nil {
		r.state.Digested = v.Summary.To
	}
	r.view, r.known = v, true
	if c := (perennial.Connection{Generation: v.Generation}); !v.Gone && !c.Behind(r.state.Generation) {
		r.state.Generation = v.Generation // the highest seen, unless the row is further behind than any restore explains
	}
	r.due = now.Add(v.Wait)
}
