package refresh

import (
	"context"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

// FallbackEngine is what [Fallback] needs of an [Engine].
type FallbackEngine interface {
	Refresh(ctx context.Context, req Request) (Result, error)
	SaveLater(ctx context.Context, req store.SaveRequest) error
}

// LeftToWorkflow reports whether nobody but the connection's workflow may decide what
// comes next: an attempt is open, the outcome of an earlier one is not known, or a
// refusal is not confirmed yet.
func LeftToWorkflow(c perennial.Connection) bool {
	return !c.Open.IsZero() || c.Ambiguous() || c.Suspect()
}

// Fallback refreshes a connection in this process while Temporal is away. The row still
// fences the attempt, so no harm comes if another process reaches Temporal. Do not call
// it for a row that is [LeftToWorkflow].
//
// Without Temporal no workflow can hold a token set that the store does not take.
// Fallback then calls save with a function that keeps the set in this process and its
// spool until it is stored. Run that function before the process ends.
func Fallback(ctx context.Context, e FallbackEngine, c perennial.Connection, save func(func())) (Result, error) {
	res, err := e.Refresh(ctx, Request{ConnectionID: c.ID, App: c.App, Generation: c.Generation, Trigger: perennial.TriggerFallback})
	if unsaved := res.Unsaved; unsaved != nil {
		save(func() { _ = e.SaveLater(context.WithoutCancel(ctx), *unsaved) }) // returns once the set is safe
	}
	return res, err
}
