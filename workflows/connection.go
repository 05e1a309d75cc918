package workflows

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
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
		r, err := newRun(ctx, o, s)
		if err != nil {
			return err
		}
		for {
			w, err := r.next(ctx)
			if w == nil || err != nil {
				return r.finish(ctx, err)
			}
			if w.timer != nil {
				if err := workflow.Await(ctx, func() bool { return r.ready(w) }); err != nil {
					return r.finish(ctx, err)
				}
			}
			if err := r.act(ctx, w); err != nil {
				return r.finish(ctx, err)
			}
		}
	}
}

// life is one run of a connection's workflow.
type run struct {
	Options
	state     State
	view      activities.View
	known     bool // view says what the row said
	local     bool // looks and refreshes are local activities first
	signals   []workflow.ReceiveChannel
	unsaved   workflow.ReceiveChannel // see SignalUnsaved
	unstored  []store.SaveRequest     // received, and not stored yet
	requested workflow.Channel        // refresh_now wants a refresh
	due       time.Time               // when the timer fires, by the workflow's clock

	refreshes, messages int // in this run
	loads               int // readings of the row that have ended
	loading             bool
	dropped             bool // a message was, in this run
	inActivity          bool // in a Refresh activity, whose end reads the row if a message came
	cycles              int  // refresh activities that have ended
	last                activities.RefreshResult
}

// newLife begins a run.
func newRun(ctx workflow.Context, o Options, s *State) (*run, error) {
	r := &run{Options: o}
	if s != nil {
		r.state = *s
	}
	if err := r.setup(ctx); err != nil {
		return nil, err
	}
	return r, r.finish(ctx, r.begin(ctx))
}

func (r *run) setup(ctx workflow.Context) error {
	if r.state.ConnectionID == "" {
		return temporal.NewNonRetryableApplicationError("the state has no connection id", "invalid", nil)
	}
	for _, name := range Signals {
		r.signals = append(r.signals, workflow.GetSignalChannel(ctx, name))
	}
	r.unsaved = workflow.GetSignalChannel(ctx, SignalUnsaved)
	r.requested = workflow.NewBufferedChannel(ctx, 1)
	r.local = r.changed(ctx, changeLocalFirst)
	if err := workflow.SetQueryHandler(ctx, QueryStatus, r.status); err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateRefreshNow, r.refreshNow,
		workflow.UpdateHandlerOptions{Validator: r.refreshNowAllowed, Description: "refresh the access token now; many callers share one refresh"})
}

// revision counts the changes of this workflow's steps. It is raised a release after
// a change came, so that this release can still be taken back: one that does not know
// a revision takes its runs for old ones.
const revision = 1

// change is one of them, and the first revision that has it.
type change struct {
	name  string
	since int
}

// changed reports whether the run takes the steps that a change brought. A run
// that a program of at least that revision started does from its first event on,
// and its input says so: a version marker, which is two events, two actions and a
// write of the visibility store in every run, is for those that had begun before.
func (r *run) changed(ctx workflow.Context, c change) bool {
	return r.state.Revision >= c.since || workflow.GetVersion(ctx, c.name, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// changeLocalFirst: every look and every refresh was an activity, which is two
// workflow tasks for each refresh.
var changeLocalFirst = change{"local-first", 1}

// next does all that comes before the next wait, and begins that. It returns none
// where the run ends.
func (r *run) next(ctx workflow.Context) (*waiting, error) {
	for {
		if err := r.storeUnsaved(ctx); err != nil {
			return nil, err
		}
		if r.view.Gone || r.view.Status == perennial.StatusDisconnected {
			if ended, err := r.end(ctx); ended || err != nil {
				return nil, err
			}
			continue
		}
		if r.full(ctx) {
			if still, err := r.handlersFinish(ctx); err != nil {
				return nil, err
			} else if still && !r.hasUnstored() {
				r.handOver()
				return nil, workflow.NewContinueAsNewError(ctx, ConnectionWorkflow, r.state)
			}
			if r.hasUnstored() {
				continue
			}
		}
		return r.wait(ctx), nil
	}
}

// act does what the end of a rest asks for.
func (r *run) act(ctx workflow.Context, w *waiting) error {
	switch r.wake(w) {
	case wokenByMessage:
		return r.onSignal(ctx)
	case wokenByRequest:
		return r.refresh(ctx, activities.RefreshRequest{Trigger: perennial.TriggerRequest, Once: true})
	}
	if r.view.Trigger == "" {
		return r.load(ctx)
	}
	return r.refresh(ctx, activities.RefreshRequest{Trigger: r.view.Trigger})
}

// leave ends a run with err. A token set that came together with a cancellation is
// stored first: it may be the only copy.
func (r *run) finish(ctx workflow.Context, err error) error {
	if err == nil {
		return nil
	}
	if unstored := r.storeUnsaved(ctx); unstored != nil {
		return unstored
	}
	return err
}

// begin takes over what the run before knew, or reads the row.
func (r *run) begin(ctx workflow.Context) error {
	carried := r.state.View
	r.state.View = nil
	if carried == nil || !r.local {
		return r.load(ctx)
	}
	carried.Wait = max(r.state.Next.Sub(workflow.Now(ctx)), 0)
	r.applyView(ctx, *carried)
	return nil
}

// full reports whether this run's history is long enough.
func (r *run) full(ctx workflow.Context) bool {
	return r.refreshes >= r.RefreshesPerRun || r.messages >= r.MessagesPerRun || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// changeServeToTheEnd: a run that was to end waited for those who had asked for a
// refresh, and they for the refresh; and a message that came while the row was
// being read was answered with that reading.
var changeServeToTheEnd = change{"serve-to-the-end", 1}

func (r *run) servesToTheEnd(ctx workflow.Context) bool {
	return r.changed(ctx, changeServeToTheEnd)
}

// handlersFinish waits until the update handlers have, before a run ends. It
// reports false where the run has to go on first: they wait for a refresh, or
// somebody has written.
func (r *run) handlersFinish(ctx workflow.Context) (bool, error) {
	if workflow.AllHandlersFinished(ctx) {
		return true, nil
	}
	if !r.servesToTheEnd(ctx) {
		return true, workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) })
	}
	wanted := func() bool { return r.requested.Len() > 0 || r.signalled() || r.hasUnstored() }
	err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) || wanted() })
	return !wanted(), err
}

// handOver takes in every signal and gives what is known to the next run; after a
// signal that is nothing, so that it reads the row.
func (r *run) handOver() {
	r.state.View, r.state.Next, r.state.Revision = nil, time.Time{}, revision
	if !r.drain() && r.known {
		r.state.View, r.state.Next = &r.view, r.due
	}
}

// drain takes in all waiting signals and reports whether there was one.
func (r *run) drain() bool {
	before := r.messages
	for _, ch := range r.signals {
		for ch.ReceiveAsync(nil) {
			r.messages++
		}
	}
	return r.messages > before
}

// end finishes the workflow unless somebody writes or asks meanwhile: then the row
// is read again, because a connect may have revived it.
func (r *run) end(ctx workflow.Context) (bool, error) {
	if !workflow.AllHandlersFinished(ctx) && r.servesToTheEnd(ctx) && r.requested.ReceiveAsync(nil) {
		r.cycles++ // no refresh comes: whoever waits for one looks at the row again
	}
	still, err := r.handlersFinish(ctx)
	if err != nil {
		return false, err
	}
	if r.drain() || r.hasUnstored() || !still {
		return false, r.onSignal(ctx)
	}
	return true, nil
}
