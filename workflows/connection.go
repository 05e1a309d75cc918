package workflows

import (
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// acts is nil on purpose: it only names the activities.
var acts *activities.Activities

// connectionWorkflow returns the workflow that lives as long as its connection.
// In its steady state it sleeps on one timer until the token is due, refreshes in
// a local activity and sleeps again: one workflow task for each refresh. What the
// local activity does not do, the Refresh activity does, with its retries. Every
// message only makes it read the row again. It ends when the connection is disconnected or its row is gone, and
// the next connect starts it again under the same id.
//
// A connection in the cache keeps its goroutine's stack. Where it waits it is less
// than 3,296 bytes deep, most of them the SDK's: so the collector makes 8 KiB of the
// 16 that a refresh needs. That is why the state comes by pointer, and why the wait
// is in the outermost function.
func connectionWorkflow(o Options) func(workflow.Context, *State) error {
	return func(ctx workflow.Context, s *State) error {
		l, err := newLife(ctx, o, s)
		if err != nil {
			return err
		}
		for {
			r, err := l.next(ctx)
			if r == nil || err != nil {
				return err
			}
			if r.selector != nil {
				r.selector.Select(ctx)
			}
			if err := l.act(ctx, r); err != nil {
				return err
			}
		}
	}
}

// life is one run of a connection's workflow.
type life struct {
	Options
	state   State
	view    activities.View
	known   bool // view says what the row said
	local   bool // looks and refreshes are local activities first
	signals []workflow.ReceiveChannel
	unsaved workflow.ReceiveChannel // see SignalUnsaved
	kept    []store.SaveRequest     // received, and not stored yet
	asked   workflow.Channel        // refresh_now wants a refresh
	due     time.Time               // when the timer fires, by the workflow's clock

	refreshes, messages int // in this run
	loads               int // readings of the row that have ended
	loading             bool
	cycles              int // refresh activities that have ended
	last                activities.RefreshResult
}

// newLife begins a run.
func newLife(ctx workflow.Context, o Options, s *State) (*life, error) {
	l := &life{Options: o}
	if s != nil {
		l.state = *s
	}
	if err := l.setup(ctx); err != nil {
		return nil, err
	}
	return l, l.begin(ctx)
}

func (l *life) setup(ctx workflow.Context) error {
	if l.state.ConnectionID == "" {
		return temporal.NewNonRetryableApplicationError("the state has no connection id", "invalid", nil)
	}
	for _, name := range Signals {
		l.signals = append(l.signals, workflow.GetSignalChannel(ctx, name))
	}
	l.unsaved = workflow.GetSignalChannel(ctx, SignalUnsaved)
	l.asked = workflow.NewBufferedChannel(ctx, 1)
	l.local = l.changed(ctx, changeLocalFirst)
	if err := workflow.SetQueryHandler(ctx, QueryStatus, l.status); err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateRefreshNow, l.refreshNow,
		workflow.UpdateHandlerOptions{Validator: l.refreshNowAllowed, Description: "refresh the access token now; many callers share one refresh"})
}

// revision counts the changes of this workflow's steps. Revision 1 has every change
// that is named in this package. It is raised a release after the change came, so
// that this release can still be taken back: one that does not know a revision takes
// its runs for old ones.
const revision = 1

// changed reports whether the run takes the steps that a change brought. A run
// that a program of at least that revision started does from its first event on,
// and its input says so: a version marker, which is two events, two actions and a
// write of the visibility store in every run, is for those that had begun before.
func (l *life) changed(ctx workflow.Context, change string) bool {
	return l.state.Revision >= 1 || workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// changeLocalFirst: every look and every refresh was an activity, which is two
// workflow tasks for each refresh.
const changeLocalFirst = "local-first"

// next does all that comes before the next wait, and begins that. It returns none
// where the run ends.
func (l *life) next(ctx workflow.Context) (*rest, error) {
	for {
		if err := l.storeUnsaved(ctx); err != nil {
			return nil, err
		}
		if l.view.Gone || l.view.Status == perennial.StatusDisconnected {
			if ended, err := l.end(ctx); ended || err != nil {
				return nil, err
			}
			continue
		}
		if l.full(ctx) {
			if still, err := l.handlersFinish(ctx); err != nil {
				return nil, err
			} else if still && !l.holds() {
				l.handOver()
				return nil, workflow.NewContinueAsNewError(ctx, ConnectionWorkflow, l.state)
			}
			if l.holds() {
				continue
			}
		}
		return l.rest(ctx), nil
	}
}

// act does what the end of a rest asks for.
func (l *life) act(ctx workflow.Context, r *rest) error {
	switch l.wake(r) {
	case wokenByMessage:
		return l.hear(ctx)
	case wokenByRequest:
		return l.refresh(ctx, activities.RefreshRequest{Trigger: perennial.TriggerRequest, Once: true})
	}
	if l.view.Trigger == "" {
		return l.load(ctx)
	}
	return l.refresh(ctx, activities.RefreshRequest{Trigger: l.view.Trigger})
}

// begin takes over what the run before knew, or reads the row.
func (l *life) begin(ctx workflow.Context) error {
	carried := l.state.View
	l.state.View = nil
	if carried == nil || !l.local {
		return l.load(ctx)
	}
	carried.Wait = max(l.state.Next.Sub(workflow.Now(ctx)), 0)
	l.absorb(ctx, *carried)
	return nil
}

// full reports whether this run's history is long enough.
func (l *life) full(ctx workflow.Context) bool {
	return l.refreshes >= l.RefreshesPerRun || l.messages >= l.MessagesPerRun || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// changeServeToTheEnd: a run that was to end waited for those who had asked for a
// refresh, and they for the refresh; and a message that came while the row was
// being read was answered with that reading.
const changeServeToTheEnd = "serve-to-the-end"

func (l *life) servesToTheEnd(ctx workflow.Context) bool {
	return l.changed(ctx, changeServeToTheEnd)
}

// handlersFinish waits until the update handlers have, before a run ends. It
// reports false where the run has to go on first: they wait for a refresh, or
// somebody has written.
func (l *life) handlersFinish(ctx workflow.Context) (bool, error) {
	if workflow.AllHandlersFinished(ctx) {
		return true, nil
	}
	if !l.servesToTheEnd(ctx) {
		return true, workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	}
	wanted := func() bool { return l.asked.Len() > 0 || l.told() || l.holds() }
	err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) || wanted() })
	return !wanted(), err
}

// handOver takes in every signal and gives what is known to the next run; after a
// signal that is nothing, so that it reads the row.
func (l *life) handOver() {
	l.state.View, l.state.Next, l.state.Revision = nil, time.Time{}, revision
	if !l.drain() && l.known {
		l.state.View, l.state.Next = &l.view, l.due
	}
}

// drain takes in all waiting signals and reports whether there was one.
func (l *life) drain() bool {
	before := l.messages
	for _, ch := range l.signals {
		for ch.ReceiveAsync(nil) {
			l.messages++
		}
	}
	return l.messages > before
}

// end finishes the workflow unless somebody writes or asks meanwhile: then the row
// is read again, because a connect may have revived it.
func (l *life) end(ctx workflow.Context) (bool, error) {
	if !workflow.AllHandlersFinished(ctx) && l.servesToTheEnd(ctx) && l.asked.ReceiveAsync(nil) {
		l.cycles++ // no refresh comes: whoever waits for one looks at the row again
	}
	still, err := l.handlersFinish(ctx)
	if err != nil {
		return false, err
	}
	if l.drain() || l.holds() || !still {
		return false, l.hear(ctx)
	}
	return true, nil
}

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
const changeNoBlindMinute = "no-blind-minute"

// refresh makes one refresh: in a local activity, and where that does not do in
// the Refresh activity.
func (l *life) refresh(ctx workflow.Context, req activities.RefreshRequest) error {
	if ctx.Err() != nil {
		return ctx.Err()
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
		if err == nil && !l.holds() {
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
		res, err = l.persist(ctx, *res.Unsaved)
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

// storeUnsaved stores the token sets that came as messages.
func (l *life) storeUnsaved(ctx workflow.Context) error {
	for l.holds() {
		if len(l.kept) == 0 {
			l.take(ctx, l.unsaved)
		}
		res, err := l.persist(ctx, l.kept[0])
		if err != nil {
			return err
		}
		l.kept = l.kept[1:]
		l.ended(ctx, res)
		l.absorb(ctx, res.View)
	}
	return nil
}

// persist stores the tokens that a refresh brought and could not store. Nothing
// else is done meanwhile, and no message or cancellation ends it: they are the
// only copy.
func (l *life) persist(ctx workflow.Context, unsaved store.SaveRequest) (res activities.RefreshResult, err error) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: loadTimeout,
		RetryPolicy:         &temporal.RetryPolicy{MaximumInterval: 30 * time.Second},
		Summary:             fmt.Sprintf("store generation %d", unsaved.NewGeneration),
	})
	err = workflow.ExecuteActivity(ctx, acts.PersistSealed, unsaved).Get(ctx, &res)
	return res, err
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
	l.state.Generation = max(l.state.Generation, v.Generation)
	l.due = workflow.Now(ctx).Add(v.Wait)
	l.show(ctx)
}
