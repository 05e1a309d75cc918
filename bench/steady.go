package main

import (
	"context"
	"fmt"
)

// steady measures a fleet that goes on as it always does.
func steady(ctx context.Context, w *world) (figures, error) {
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
	return w.between(ctx, from, to)
}
