package main

import (
	"context"
	"fmt"
)

// steady measures a fleet that goes on as it always does.
func steady(ctx context.Context, w *world) (figures, error) {
	idle, err := w.idle(ctx)
	if err != nil {
		return nil, err
	}
	age := w.age
	if !w.variant.temporal() {
		age = 0 // what ages is a workflow's history
	}
	if err := w.populate(ctx, w.spread(age)); err != nil {
		return nil, err
	}
	if age > 0 {
		if err := w.aged(ctx); err != nil {
			return nil, fmt.Errorf("age the fleet: %w", err)
		}
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

// idle is what the servers and the worker use before there is a connection.
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
