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
		l, err := newLife(ctx, o, s)
		if err != nil {
			return err
		}
		for {
			r, err := l.next(ctx)
			if r == nil || err != nil {
				return l.leave(ctx, err)
			}
			if r.timer != nil {
				if err := workflow.Await(ctx, func() bool { return l.over(r) }); err != nil {
					return l.leave(ctx, err)
				}
			}
			if err := l.act(ctx, r); err != nil {
				return l.leave(ctx, err)
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
	dropped             bool // a message was, in this run
	away                bool // in a Refresh activity, whose end reads the row if a message came
	cycles              int  // refresh activities that have ended
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
	return l, l.leave(ctx, l.begin(ctx))
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
func (l *life) changed(ctx workflow.Context, c change) bool {
	return l.state.Revision >= c.since || workflow.GetVersion(ctx, c.name, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// changeLocalFirst: every look and every refresh was an activity, which is two
// workflow tasks for each refresh.
var changeLocalFirst = change{"local-first", 1}

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

// leave ends a run with err. A token set that came together with a cancellation is
// stored first: it may be the only copy.
func (l *life) leave(ctx workflow.Context, err error) error {
	if err == nil {
		return nil
	}
	if unstored := l.storeUnsaved(ctx); unstored != nil {
		return unstored
	}
	return err
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
var changeServeToTheEnd = change{"serve-to-the-end", 1}

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
