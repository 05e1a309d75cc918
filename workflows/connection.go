package workflows

import (
	"cmp"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// acts is nil on purpose: it only gives the activities their names.
var acts *activities.Activities

// connectionWorkflow returns the workflow of one connection. In its steady state it
// sleeps on one timer until the token is due, refreshes in a local activity and sleeps
// again: one workflow task for each refresh. When the local activity gives up, the
// Refresh activity takes over, with its retries. A signal only makes the workflow read
// the row again. It ends when the connection is disconnected or its row is gone; the
// next connect starts it again under the same id.
//
// A worker that caches a connection keeps its goroutine's stack. While the workflow
// waits, that stack is less than 3,296 bytes deep, most of it the SDK's, so the
// collector shrinks the 16 KiB that a refresh needs to 8 KiB. This is why the state is
// passed by pointer, and why the wait is in the outermost function.
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
			for again := w.timer != nil; again; again = r.ignoresEnd(ctx) {
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

// run is one run (in Temporal's sense) of a connection's workflow.
type run struct {
	Options
	state     State
	first     bool // a first run whose first local activity has not ended
	view      activities.View
	known     bool // view has been read from the row
	local     bool // reads and refreshes try a local activity first
	signals   []workflow.ReceiveChannel
	unsaved   workflow.ReceiveChannel // see SignalUnsaved
	unstored  []store.SaveRequest     // received, and not stored yet
	ends      workflow.ReceiveChannel // see SignalContinueAsNew
	deaf      bool                    // this run began before it knew that signal
	unshown   bool                    // the search attributes differ from the row
	checked   bool                    // the search attributes that the run has were looked up in this workflow task
	requested workflow.Channel        // an update handler wants a refresh
	due       time.Time               // when the timer fires, by the workflow's clock

	requestedFor perennial.Trigger // of the refresh that a handler wants

	refreshes, messages int // counted in this run
	updates             int
	crowded             bool // this run has answered as many updates as it may
	loads               int  // reads of the row that have ended
	loading             bool
	dropped             bool // this run has dropped a message
	inActivity          bool // a Refresh activity is running; when it ends after a signal, the row is read
	cycles              int  // refreshes that have ended
	last                activities.RefreshResult
}

// newRun starts a run: it sets up the handlers and takes over the state.
func newRun(ctx workflow.Context, o Options, s *State) (*run, error) {
	r := &run{Options: o}
	if s != nil {
		r.state = *s
	}
	if err := r.believe(ctx); err != nil {
		return nil, err
	}
	if err := r.setup(ctx); err != nil {
		return nil, err
	}
	return r, r.finish(ctx, r.begin(ctx))
}

// changeBelieve: before it, a run believed every state that it was started with.
var changeBelieve = change{"believe", 2}

// believe checks the state that the run was started with. Anybody who may start workflows
// may have written it. Only a run that continues another has a past: a first run keeps
// the connection's id and reads the row. A run with another connection's workflow id does
// nothing.
func (r *run) believe(ctx workflow.Context) error {
	info := workflow.GetInfo(ctx)
	if r.first = info.ContinuedExecutionRunID == ""; r.first {
		r.state.Revision = min(r.state.Revision, baseRevision)
	}
	s := r.state
	if s.ConnectionID == "" {
		return temporal.NewNonRetryableApplicationError("the state has no connection id", "invalid", nil)
	}
	if !plausible(s.Shown) && r.changed(ctx, changeBoundShown) {
		s.Shown, r.state.Shown = nil, nil
	}
	own := info.WorkflowExecution.ID == ID(s.ConnectionID)
	past := s.View != nil || !s.Next.IsZero() || s.Generation != 0 || s.Refreshes != 0 || s.Dropped != 0 || len(s.Recent)+len(s.SetAside)+len(s.Refused) > 0 || !s.Digested.IsZero()
	if own && !r.first {
		r.state = s.bounded()
		return nil
	}
	if own && !past || !r.changed(ctx, changeBelieve) {
		return nil
	}
	if !own {
		return temporal.NewNonRetryableApplicationError(fmt.Sprintf("workflow %s cannot look after connection %s: that is the workflow %s", info.WorkflowExecution.ID, s.ConnectionID, ID(s.ConnectionID)), "invalid", nil)
	}
	r.state = State{ConnectionID: s.ConnectionID, Revision: s.Revision, Shown: s.Shown}
	return nil
}

func (r *run) setup(ctx workflow.Context) error {
	for _, name := range Signals {
		r.signals = append(r.signals, workflow.GetSignalChannel(ctx, name))
	}
	r.unsaved = workflow.GetSignalChannel(ctx, SignalUnsaved)
	r.ends = workflow.GetSignalChannel(ctx, SignalContinueAsNew)
	r.requested = workflow.NewBufferedChannel(ctx, 1)
	r.local = r.changed(ctx, changeLocalFirst)
	if err := workflow.SetQueryHandler(ctx, QueryStatus, r.status); err != nil {
		return err
	}
	return workflow.SetUpdateHandlerWithOptions(ctx, UpdateRefreshNow, r.refreshNow,
		workflow.UpdateHandlerOptions{Validator: r.refreshNowAllowed, Description: "refresh the access token now; many callers share one refresh"})
}

// changeLocalFirst: before it, every read and every refresh was an activity, which
// costs two workflow tasks for each refresh.
var changeLocalFirst = change{"local-first", 1}

// next does the pending work and starts the next wait. It returns nil when the run
// should end.
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
				if !r.checked && r.local && r.changed(ctx, changeOwnAttributes) {
					if err := r.load(ctx); err != nil {
						return nil, err
					}
					r.checked = true // or the local activity gave up, and Temporal may refuse the next run
					continue
				}
				if r.view.MoveTo != "" {
					ctx = workflow.WithWorkflowTaskQueue(ctx, r.view.MoveTo)
				}
				r.handOver()
				return nil, workflow.NewContinueAsNewError(ctx, ConnectionWorkflow, r.state)
			}
			if r.hasUnstored() {
				continue
			}
		}
		if r.unshown {
			r.unshown = false
			if err := r.load(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return r.wait(ctx), nil
	}
}

// act does what ended the wait: it reads the row or refreshes.
func (r *run) act(ctx workflow.Context, w *waiting) error {
	switch r.wake(w) {
	case wokenByMessage:
		return r.onSignal(ctx)
	case wokenByRequest:
		return r.refresh(ctx, activities.RefreshRequest{Trigger: cmp.Or(r.requestedFor, perennial.TriggerRequest), Once: true})
	case wokenByUpdates:
		return nil // the run is full
	}
	if r.view.Trigger == "" {
		return r.load(ctx)
	}
	return r.refresh(ctx, activities.RefreshRequest{Trigger: r.view.Trigger})
}

// finish ends the run with err. It first stores a token set that arrived together with
// a cancellation, because that may be the only copy.
func (r *run) finish(ctx workflow.Context, err error) error {
	if err == nil {
		return nil
	}
	if unstored := r.storeUnsaved(ctx); unstored != nil {
		return unstored
	}
	return err
}

// begin takes over the view of the run before, or reads the row.
func (r *run) begin(ctx workflow.Context) error {
	carried := r.state.View
	r.state.View = nil
	if carried == nil || !r.local {
		return r.load(ctx)
	}
	carried.Wait = max(r.state.Next.Sub(workflow.Now(ctx)), 0)
	carried.Upsert = nil
	r.applyView(ctx, *carried)
	return nil
}

// full reports whether this run should continue as new: its history is long enough, or
// the workflow moves to another task queue.
func (r *run) full(ctx workflow.Context) bool {
	return r.view.MoveTo != "" || r.refreshes >= r.RefreshesPerRun || r.messages >= r.MessagesPerRun || r.crowded || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
}

// changeServeToTheEnd: before it, a run that should end and the callers of refresh_now
// waited for each other; and a signal that arrived during a read of the row was
// answered with that read.
var changeServeToTheEnd = change{"serve-to-the-end", 1}

func (r *run) servesToTheEnd(ctx workflow.Context) bool {
	return r.changed(ctx, changeServeToTheEnd)
}

// handlersFinish waits for the update handlers before the run ends. It returns false
// when the run must go on first: a handler waits for a refresh, or a signal arrived.
// Otherwise the run and its callers would deadlock.
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

// handOver receives all signals and passes the view to the next run. If there was a
// signal it passes none, so that the next run reads the row.
func (r *run) handOver() {
	r.state.View, r.state.Next, r.state.Revision = nil, time.Time{}, r.nextRevision()
	r.view.MoveTo, r.view.Revision = "", 0 // the next run is there
	if !r.drain() && r.known {
		r.state.View, r.state.Next = &r.view, r.due
	}
}

// drain receives all waiting signals and reports whether there was one.
func (r *run) drain() bool {
	before := r.messages
	for _, ch := range r.signals {
		for ch.ReceiveAsync(nil) {
			r.messages++
		}
	}
	for !r.deaf && r.ends.ReceiveAsync(nil) {
		r.messages++
	}
	return r.messages > before
}

// end ends the workflow, unless a signal or request arrives meanwhile. Then it reads
// the row again, because a connect may have revived the connection.
func (r *run) end(ctx workflow.Context) (bool, error) {
	if !workflow.AllHandlersFinished(ctx) && r.servesToTheEnd(ctx) && r.requested.ReceiveAsync(nil) {
		r.cycles++ // no refresh follows: callers that wait for one read the row again
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
