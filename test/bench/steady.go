package main

import (
	"context"
	"fmt"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
)

// steady measures a fleet in normal operation.
func steady(ctx context.Context, w *world) (figures, error) {
	idle, err := w.idle(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.aging(ctx); err != nil {
		return nil, fmt.Errorf("age the fleet: %w", err)
	}
	if err := pass(ctx, w.warmup); err != nil {
		return nil, err
	}
	from, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := pass(ctx, w.window); err != nil {
		return nil, err
	}
	to, err := w.end(ctx, from)
	if err != nil {
		return nil, err
	}
	f, err := w.between(ctx, from, to)
	if err != nil {
		return nil, err
	}
	if f["refreshes"] == 0 {
		return nil, fmt.Errorf("nothing was refreshed; --keep keeps the logs")
	}
	f["idle_cores"] = idle
	return f, nil
}

// aging creates a fleet whose workflows have histories of every length. Meanwhile the
// worker keeps all of them in its cache.
func (w *world) aging(ctx context.Context) error {
	age := min(w.age, w.variant.refreshesPerRun())
	if w.age == wholeRun {
		age = w.variant.refreshesPerRun()
	}
	if age == 0 {
		if err := w.populate(ctx, w.spread(0)); err != nil || w.saturate {
			return err
		}
		return w.begun(ctx)
	}
	small := w.cache
	if err := w.withCache(ctx, 0); err != nil {
		return err
	}
	if err := w.populate(ctx, w.spread(age)); err != nil {
		return err
	}
	if err := w.aged(ctx); err != nil {
		return err
	}
	return w.withCache(ctx, small)
}

// begun waits until each new workflow has run once, as in a fleet that has run for a
// long time.
func (w *world) begun(ctx context.Context) error {
	if !w.variant.temporal() {
		return nil
	}
	return until(ctx, w.patience, time.Second, func() (bool, error) {
		r, err := w.client.WorkflowService().DescribeTaskQueue(ctx, &workflowservice.DescribeTaskQueueRequest{Namespace: client.DefaultNamespace,
			TaskQueue: &taskqueuepb.TaskQueue{Name: taskQueue}, TaskQueueType: enumspb.TASK_QUEUE_TYPE_WORKFLOW, ReportStats: true})
		return r.GetStats().GetApproximateBacklogCount() < begunEnough, err
	})
}

// begunEnough is how many tasks a task queue has that is not behind.
const begunEnough = 20

// withCache restarts the worker unless it has a cache of that size.
func (w *world) withCache(ctx context.Context, size int) (err error) {
	if size == w.cache {
		return nil
	}
	w.cache = size
	if err := w.worker.terminate(); err != nil {
		return err
	}
	if err := w.startWorker(ctx); err != nil {
		return err
	}
	w.empty, err = w.memory(ctx)
	return err
}

// idle returns how many cores the servers and the worker use without connections.
func (w *world) idle(ctx context.Context) (cores float64, err error) {
	from, err := w.begin(ctx)
	if err != nil {
		return 0, err
	}
	if err := pass(ctx, w.window/10); err != nil {
		return 0, err
	}
	to, err := w.end(ctx, from)
	for name, at := range to.cpu {
		if name != "provider" && name != "driver" {
			cores += (at - from.cpu[name]).Seconds() / to.at.Sub(from.at).Seconds()
		}
	}
	return cores, err
}
