package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
)

// stuckAttempt is the attempt of a workflow task from which it is not bad luck any more:
// a worker that ends costs one.
const stuckAttempt = 5

// workflowsRun looks at the workflows of a sample of active connections: the overdue ones
// first.
func workflowsRun(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := p.activeSample(ctx)
	if err != nil {
		return nil, err
	}
	replies, errs := make([]*workflowservice.DescribeWorkflowExecutionResponse, len(cs)), make([]error, len(cs))
	parallel(len(cs), func(i int) { replies[i], errs[i] = c.DescribeWorkflowExecution(ctx, workflows.ID(cs[i].ID), "") })
	patience := 2 * workflows.Sweep(p.cfg.Sweep).WithDefaults().Every
	var none, stuck, idle []string
	elsewhere := map[string][]string{} // by task queue
	for i, reply := range replies {
		var missing *serviceerror.NotFound
		queue := reply.GetExecutionConfig().GetTaskQueue().GetName()
		switch id := cs[i].ID; {
		case errors.As(errs[i], &missing):
			none = append(none, id)
		case errs[i] != nil:
			return nil, fmt.Errorf("DescribeWorkflowExecution: %w", errs[i])
		case reply.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING:
			none = append(none, id)
		case queue != p.cfg.TaskQueue:
			elsewhere[queue] = append(elsewhere[queue], id)
		case reply.GetPendingWorkflowTask().GetAttempt() >= stuckAttempt:
			stuck = append(stuck, id)
		case waits(reply.GetPendingWorkflowTask(), patience):
			idle = append(idle, id)
		}
	}
	return p.aboutWorkflows(len(cs), none, stuck, idle, elsewhere), nil
}

// waits reports whether a workflow task has waited for longer than that for a worker to do
// it: the sweep's nudges change nothing.
func waits(task *workflowpb.PendingWorkflowTaskInfo, patience time.Duration) bool {
	return task != nil && time.Since(task.GetOriginalScheduledTime().AsTime()) > patience
}

func (p *parts) aboutWorkflows(looked int, none, stuck, idle []string, elsewhere map[string][]string) (out []Finding) {
	for queue, ids := range elsewhere {
		out = append(out, wrong(fmt.Sprintf("to move them, `perennial move --from %s` (docs/running.md); else set task_queue back: a running workflow stays on its queue", queue),
			"workflows on task queue %s instead of %s: %d of %d sampled connections: %s", queue, p.cfg.TaskQueue, len(ids), looked, some(ids)))
	}
	if len(none) > 0 {
		out = append(out, wrong("the sweep starts them when they are due: see the lines `sweep` and `workers`; at once by `perennial refresh ID`",
			"no running workflow: %d of %d sampled connections: %s", len(none), looked, some(none)))
	}
	if len(stuck) > 0 {
		out = append(out, wrong("read the failing workflow task in the Temporal UI; deploy the worker that ran before, or a newer one; "+stuckAdvice,
			"workflows whose task fails again and again: %d of %d sampled connections: %s", len(stuck), looked, some(stuck)))
	}
	if len(idle) > 0 {
		out = append(out, wrong("see the line `workers`; "+stuckAdvice, "workflows whose task no worker does: %d of %d sampled connections: %s", len(idle), looked, some(idle)))
	}
	if len(out) == 0 {
		out = append(out, well("one runs for each sampled active connection (%d), on task queue %s", looked, p.cfg.TaskQueue))
	}
	return out
}

// described is how many workflows a check asks about.
const described = 30

func (p *parts) activeSample(ctx context.Context) ([]perennial.Connection, error) {
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	late, err := rows.Overdue(ctx, 0, described/2)
	if err != nil {
		return nil, err
	}
	beside, err := p.besideSample(ctx, rows)
	if err != nil {
		return nil, err
	}
	any, err := rows.Sample(ctx, sampled)
	if err != nil {
		return nil, err
	}
	now, err := rows.Now(ctx)
	if err != nil {
		return nil, err
	}
	var out []perennial.Connection
	seen := map[string]bool{}
	for _, c := range slices.Concat(late, beside, any) {
		// The message that starts a new connection's workflow may be on its way.
		if c.Status == perennial.StatusActive && !seen[c.ID] && len(out) < described && now.Sub(c.CreatedAt) > time.Second*10 {
			seen[c.ID] = true
			out = append(out, c)
		}
	}
	return out, nil
}

// besideSample returns connections that were lately refreshed beside Temporal.
func (p *parts) besideSample(ctx context.Context, rows *store.Store) (out []perennial.Connection, err error) {
	beside, err := rows.RefreshedBeside(ctx, besideLately, ledgerLines)
	if err != nil {
		return nil, err
	}
	for id := range beside {
		if len(out) >= described/3 {
			break
		}
		c, _, err := rows.Get(ctx, perennial.WorkerAccess(), id)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// queried is how many workflows are asked for their token sets: each answer needs a
// worker.
const queried = 8

// setsInWorkflows asks the workflows of failing connections what they have set aside. A
// workflow with a set that cannot be stored is failing.
func setsInWorkflows(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := p.rows(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := rows.FailingSample(ctx, queried)
	if err != nil {
		return nil, err
	}
	replies, errs := make([]workflows.StatusReply, len(cs)), make([]error, len(cs))
	parallel(len(cs), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		value, err := c.QueryWorkflow(ctx, workflows.ID(cs[i].ID), "", workflows.QueryStatus)
		if err == nil {
			err = value.Get(&replies[i])
		}
		errs[i] = err
	})
	var aside, dropped []string
	asked, silent := 0, 0
	for i, r := range replies {
		var missing *serviceerror.NotFound
		if errors.As(errs[i], &missing) { // the check of the workflows finds those
			errs[i] = nil
			continue
		}
		if errs[i] != nil {
			silent++
			continue
		}
		asked++
		if r.SetAside > 0 {
			aside = append(aside, cs[i].ID)
		}
		if r.Dropped > 0 {
			dropped = append(dropped, cs[i].ID)
		}
	}
	return aboutSets(asked, silent, aside, dropped, errors.Join(errs...))
}

func aboutSets(asked, silent int, aside, dropped []string, errs error) (out []Finding, err error) {
	if len(aside) > 0 {
		out = append(out, wrong("read the worker's log for the reason; the sets are tried again by themselves", "workflows hold token sets that could not be stored: %s", some(aside)))
	}
	if len(dropped) > 0 {
		out = append(out, warning("find out who signals these workflows", "workflows dropped messages that were no token sets of theirs: %s", some(dropped)))
	}
	if silent > 0 {
		return out, fmt.Errorf("%d of %d workflows of failing connections gave no answer: %w", silent, silent+asked, errs)
	}
	if len(out) == 0 {
		out = append(out, well("no token set that could not be stored in the workflows of failing connections (asked: %d)", asked))
	}
	return out, nil
}
