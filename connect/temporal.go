package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sync/singleflight"
)

// Temporal signals and updates the connections' workflows. It is safe for concurrent
// use.
type Temporal struct {
	Client    client.Client
	TaskQueue string

	flights singleflight.Group
}

// Signal signals the connection's workflow and starts it if it is not running. Both are
// one atomic step, and neither needs a running worker.
func (t *Temporal) Signal(ctx context.Context, c perennial.Connection, signal string) error {
	return t.signal(ctx, c, signal, nil)
}

// Unsaved sends a sealed token set to the connection's workflow, which stores it. It
// returns once the set is in the workflow's history.
func (t *Temporal) Unsaved(ctx context.Context, c perennial.Connection, req store.SaveRequest) error {
	return t.signal(ctx, c, workflows.SignalUnsaved, req)
}

func (t *Temporal) signal(ctx context.Context, c perennial.Connection, signal string, arg any) error {
	o := client.StartWorkflowOptions{
		TaskQueue:             t.TaskQueue,
		TypedSearchAttributes: workflows.SearchAttributes(c),
		Memo:                  workflows.Memo(c),
		StaticSummary:         c.Provider + " " + c.AccountID,
		// Start a finished workflow again: its id lives as long as the account.
		WorkflowIDReusePolicy: enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
	}
	state := workflows.NewState(c.ID)
	state.Shown = activities.ShownOf(c)
	_, err := t.Client.SignalWithStartWorkflow(ctx, workflows.ID(c.ID), signal, arg, o, workflows.ConnectionWorkflow, state)
	if unregistered(err) { // the workflow sets those that there are
		o.TypedSearchAttributes, state.Shown = temporal.SearchAttributes{}, nil
		_, err = t.Client.SignalWithStartWorkflow(ctx, workflows.ID(c.ID), signal, arg, o, workflows.ConnectionWorkflow, state)
	}
	if err != nil {
		return fmt.Errorf("signal %s to workflow %s: %w", signal, workflows.ID(c.ID), err)
	}
	return nil
}

// unregistered reports whether Temporal refused a start for its arguments, as it does if
// the namespace lacks one of our search attributes, even if the workflow is running.
func unregistered(err error) bool {
	var invalid *serviceerror.InvalidArgument
	return errors.As(err, &invalid)
}

// RefreshNow asks the connection's workflow for a fresh token and waits for the result.
// Concurrent callers in one process with the same request share one update. A refusal
// is a [perennial.Error] with its code, a generation above the row's a
// [perennial.GenerationAheadError], a workflow that is not running an error of
// [perennial.CodeNotFound].
func (t *Temporal) RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	flight := t.flights.DoChan(fmt.Sprintf("%s/%d", id, req.IfGeneration), func() (any, error) {
		// One caller that leaves must not fail the others. And a request that no worker
		// answers must not keep every later one waiting.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshNowTimeout)
		defer cancel()
		return t.refreshNow(ctx, id, req)
	})
	select {
	case <-ctx.Done():
		return workflows.RefreshNowReply{}, ctx.Err()
	case r := <-flight:
		reply, _ := r.Val.(workflows.RefreshNowReply)
		return reply, r.Err
	}
}

// Refresher is [Temporal], or a stand-in for it.
type Refresher interface {
	RefreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error)
	Signal(ctx context.Context, c perennial.Connection, signal string) error
}

// Refresh is RefreshNow for a connection whose workflow may have been terminated by
// hand: it first starts a workflow that is not running.
func Refresh(ctx context.Context, w Refresher, c perennial.Connection, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	reply, err := w.RefreshNow(ctx, c.ID, req)
	if perennial.CodeOf(err) != perennial.CodeNotFound || c.Status == perennial.StatusDisconnected {
		return reply, err
	}
	if err := w.Signal(ctx, c, workflows.SignalNudge); err != nil {
		return reply, err
	}
	return w.RefreshNow(ctx, c.ID, req)
}

// refreshNowTimeout bounds one shared request. A caller that still wants a token asks
// again.
const refreshNowTimeout = 2 * time.Minute

func (t *Temporal) refreshNow(ctx context.Context, id string, req workflows.RefreshNow) (workflows.RefreshNowReply, error) {
	var reply workflows.RefreshNowReply
	handle, err := t.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID:   workflows.ID(id),
		UpdateName:   workflows.UpdateRefreshNow,
		Args:         []any{req},
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = handle.Get(ctx, &reply)
	}
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		var row int64
		if app.Type() == string(perennial.CodeGenerationAhead) && app.Details(&row) == nil {
			return reply, &perennial.GenerationAheadError{Connection: id, Generation: row}
		}
		return reply, &perennial.Error{Code: perennial.Code(app.Type()), Message: app.Message(), Err: err}
	}
	if _, missing := errors.AsType[*serviceerror.NotFound](err); missing {
		return reply, perennial.Errorf(perennial.CodeNotFound, "no workflow runs for connection %s: %w", id, err)
	}
	if err != nil {
		return reply, fmt.Errorf("ask workflow %s to refresh: %w", workflows.ID(id), err)
	}
	return reply, nil
}
