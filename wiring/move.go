package wiring

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
)

const (
	// moveEvery is the time between two passes over the workflows that still run on the old queue.
	moveEvery = 3 * time.Second
	// moveGap bounds the signals of a pass to 200 a second.
	moveGap = 5 * time.Millisecond
	// moveWorkers is how long a worker may take to poll its task queue: one that waited
	// for the binding looks every few seconds.
	moveWorkers = 30 * time.Second
	// moveReport is how long a worker may take to report: it does so every reportEvery.
	moveReport = reportEvery + 30*time.Second
)

// MovedTo implements activities.Binding: the task queue of the same namespace and
// database to which the connections' workflows should move; empty: none.
func (b *Binding) MovedTo() string {
	f := b.found.Load()
	if f == nil || f.Record == nil || f.Record.Database != f.Installation.DatabaseID {
		return ""
	}
	to := f.Record.MovedTo
	if _, listed := f.Installation.Find(f.NamespaceID, to); to == f.TaskQueue || !listed {
		return "" // a record is believed only if the database knows that queue too
	}
	return to
}

// Move moves the connections' workflows from another task queue of the same namespace to
// this one. Each ends its run where it is idle, and continues here with all that it
// holds. Workers must poll both queues. progress receives how many are left after each
// pass. Move may be stopped and repeated.
func (b *Binding) Move(ctx context.Context, from string, progress func(left int)) error {
	if err := b.movable(ctx, from); err != nil {
		return err
	}
	if err := b.worksHere(ctx, from); err != nil {
		return err
	}
	// A worker on this queue waits until the database is bound to it.
	f, _, err := b.Adopt(ctx, true, "")
	if err != nil {
		return err
	}
	if err := b.polled(ctx, b.Place.TaskQueue); err != nil {
		return err
	}
	old := b.Place
	old.TaskQueue = from
	// This queue's own mark goes first: two marks would move workflows to and fro.
	if err := mark(ctx, b.Place, f.Installation, ""); err != nil {
		return err
	}
	if err := mark(ctx, old, f.Installation, b.Place.TaskQueue); err != nil {
		return err
	}
	if err := b.drain(ctx, from, progress); err != nil {
		return err
	}
	return b.retire(ctx, from)
}

// movable refuses a move that needs a person's work first. It changes nothing.
func (b *Binding) movable(ctx context.Context, from string) error {
	f, err := b.lookAtBoth(ctx)
	if err != nil {
		return err
	}
	if from == f.TaskQueue {
		return perennial.Errorf(perennial.CodeInvalid, "the workflows are to leave task queue %s, and the configuration still names it: set task_queue to the new one", from)
	}
	if _, listed := f.Installation.Find(f.NamespaceID, from); !listed {
		return perennial.Errorf(perennial.CodeConflict, "the database is not bound to task queue %s of namespace %s: `perennial binding` lists what it is bound to", from, f.Namespace)
	}
	if f.State != Bound && f.State != Elsewhere {
		return perennial.Errorf(perennial.CodeConflict, "%s", f.Reason)
	}
	return b.sweepIsThere(ctx)
}

// worksHere waits until a worker of the queue has reported to this database since the
// call. In a copy of the database, which has the same id, none does: the workflows are
// the original's.
func (b *Binding) worksHere(ctx context.Context, queue string) error {
	began, err := b.rows.Now(ctx)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(moveReport); ; {
		all, _, err := b.rows.Processes(ctx)
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Kind == KindWorker && p.TaskQueue == queue && p.ReportedAt.After(began) {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return perennial.Errorf(perennial.CodeConflict, "no worker of task queue %s has reported to this database: leave the old queue's workers running, they end its runs. If this database is a copy, the workflows there are its original's", queue)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (b *Binding) sweepIsThere(ctx context.Context) error {
	id := workflows.SweepID(b.Place.TaskQueue)
	_, err := b.Place.Client.ScheduleClient().GetHandle(ctx, id).Describe(ctx)
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return perennial.Errorf(perennial.CodeConflict, "there is no Schedule %s: run `perennial setup` with the new task_queue, then this again", id)
	}
	if err != nil {
		return fmt.Errorf("look for the Schedule %s: %w", id, err)
	}
	return nil
}

// polled waits until a worker polls the queue.
func (b *Binding) polled(ctx context.Context, queue string) error {
	for deadline := time.Now().Add(moveWorkers); ; {
		d, err := b.Place.Client.DescribeTaskQueue(ctx, queue, enumspb.TASK_QUEUE_TYPE_WORKFLOW)
		if err != nil {
			return fmt.Errorf("look who polls task queue %s: %w", queue, err)
		}
		for _, p := range d.GetPollers() {
			if time.Since(p.GetLastAccessTime().AsTime()) < pollsWithin {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return perennial.Errorf(perennial.CodeConflict, "no worker polls task queue %s: start them: they go on with what the old queue's workers end", queue)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// pollsWithin exceeds the minute that a poll lasts.
const pollsWithin = 2 * time.Minute

// mark writes into the record of a queue where its workflows should move.
func mark(ctx context.Context, p workflows.Place, mine store.Installation, to string) error {
	return p.Write(ctx, func(old workflows.Record, found bool) (workflows.Record, error) {
		if !found || old.Database != mine.DatabaseID {
			return old, perennial.Errorf(perennial.CodeConflict, "Temporal does not say that task queue %s belongs to this database: run `perennial setup` with that task_queue", p.TaskQueue)
		}
		old.MovedTo = to
		return old, nil
	})
}

// drain signals the workflows on the old queue until none is left there. A worker there
// learns within a minute that they should move.
func (b *Binding) drain(ctx context.Context, from string, progress func(left int)) error {
	for none := 0; none < 2; { // Temporal's list lags a little behind
		left := 0
		err := b.running(ctx, from, workflows.ConnectionWorkflow, func(w *workflowpb.WorkflowExecutionInfo) error {
			left++
			return b.nudge(ctx, w)
		})
		if err != nil {
			return fmt.Errorf("move the workflows of task queue %s (repeat it: what has moved stays moved): %w", from, err)
		}
		progress(left)
		none++
		if left > 0 {
			none = 0
		}
		if err := pause(ctx, moveEvery); err != nil {
			return fmt.Errorf("%d workflows are still on task queue %s; leave its workers running and repeat this: %w", left, from, err)
		}
	}
	return nil
}

// nudge makes a running workflow read its row. One that has ended meanwhile is no error.
func (b *Binding) nudge(ctx context.Context, w *workflowpb.WorkflowExecutionInfo) error {
	err := b.Place.Client.SignalWorkflow(ctx, w.GetExecution().GetWorkflowId(), w.GetExecution().GetRunId(), workflows.SignalNudge, nil)
	var ended *serviceerror.NotFound
	if err != nil && !errors.As(err, &ended) {
		return err
	}
	return pause(ctx, moveGap)
}

// retire ends what is left on the old queue: the sweep, the pacers, the workflows of
// apps in trouble and the deliveries. All of them begin again on the new queue, from the
// database. It waits until they have ended, because only the old workers can end them.
func (b *Binding) retire(ctx context.Context, from string) error {
	var missing *serviceerror.NotFound
	err := b.Place.Client.ScheduleClient().GetHandle(ctx, workflows.SweepID(from)).Delete(ctx)
	if err != nil && !errors.As(err, &missing) {
		return fmt.Errorf("delete the sweep's Schedule of task queue %s: %w", from, err)
	}
	for {
		left := 0
		for _, kind := range workflows.Restartable {
			err := b.running(ctx, from, kind, func(w *workflowpb.WorkflowExecutionInfo) error {
				left++
				return b.cancel(ctx, w.GetExecution())
			})
			if err != nil {
				return err
			}
		}
		if left == 0 {
			return nil
		}
		if err := pause(ctx, moveEvery); err != nil {
			return fmt.Errorf("%d pacers, deliveries or workflows of apps are still on task queue %s; leave its workers running and repeat this: %w", left, from, err)
		}
	}
}

// cancel requests the end of a run. One that has ended meanwhile is no error.
func (b *Binding) cancel(ctx context.Context, run *commonpb.WorkflowExecution) error {
	var ended *serviceerror.NotFound
	err := b.Place.Client.CancelWorkflow(ctx, run.GetWorkflowId(), run.GetRunId())
	if err != nil && !errors.As(err, &ended) {
		return fmt.Errorf("cancel %s: %w", run.GetWorkflowId(), err)
	}
	return nil
}

// running calls do for each running workflow of a type on a queue.
func (b *Binding) running(ctx context.Context, queue, workflowType string, do func(*workflowpb.WorkflowExecutionInfo) error) error {
	r := &workflowservice.ListWorkflowExecutionsRequest{Namespace: b.Place.Namespace,
		Query: fmt.Sprintf("TaskQueue = '%s' AND WorkflowType = '%s' AND ExecutionStatus = 'Running'", strings.ReplaceAll(queue, "'", "''"), workflowType)}
	for {
		page, err := b.Place.Client.ListWorkflow(ctx, r)
		if err != nil {
			return fmt.Errorf("list the workflows of task queue %s: %w", queue, err)
		}
		for _, w := range page.GetExecutions() {
			if err := do(w); err != nil {
				return err
			}
		}
		if r.NextPageToken = page.GetNextPageToken(); len(r.NextPageToken) == 0 {
			return nil
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
