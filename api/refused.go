package api

import (
	"context"
	"net/http"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
)

type refusedInput struct {
	ConnectionPath
	Body wire.RefusedBody
}

type refusedOutput struct{ Body wire.RefusedAnswer }

func (a *API) registerRefused(tag string) {
	register(a, operation{id: "reportRefused", method: http.MethodPost, path: connectionsPath + "/{id}/refused", tag: tag, scopes: tokens, writes: true, repeatable: true,
		summary: "Report that the provider does not accept the token any more",
		description: "For what a product learns other than by a 401: an API that says \"expired\" by 200, 400 or 403 (`token_refused`), or the provider's notice that access was removed (`revoked_at_provider`). The token endpoint is asked, once, and only its answer decides: nothing becomes `reconnect_required` by a report. The answer holds no token.\n\n" +
			"200 with `result` `newer`: the grant lives, and there is a newer token, or there was one already and nobody was asked; get it with `getToken`. 200 with `pending`: the provider has not decided. It is asked again by itself after a failure or a first refusal, and `connection.retry_at` says when. If `connection.forced_at` is there, callers had the token refreshed just before, and may report again at `retry_at`. A repeated report costs nothing.\n\n" +
			"409 `reconnect_required`: the provider has refused the grant, twice; only the customer can help. 409 `paused`, `disconnected`. 409 `generation_ahead`: `generation` is above `connection.generation`, as after a restore of the database. 503 `unavailable`: nobody could be asked; report again."}, a.reportRefused)
}

func (a *API) reportRefused(ctx context.Context, access perennial.Access, in *refusedInput) (*refusedOutput, error) {
	generation, why := in.Body.Generation, in.Body.Why
	if err := perennial.CheckRefusal(generation, why); err != nil {
		return nil, err
	}
	b, err := a.Tokens(access)
	if err != nil {
		return nil, err
	}
	held, err := b.Load(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	switch p := undecidable(held); {
	case p != nil:
		return nil, p
	case generation > held.Generation:
		return nil, generationAhead(held)
	case generation == 0:
		generation = held.Generation
	}
	waiting, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	failure := b.Refused(waiting, in.ID, generation, why)
	if held, err = b.Load(ctx, in.ID); err != nil {
		return nil, err
	}
	if held.Generation > generation {
		return &refusedOutput{wire.RefusedAnswer{Result: wire.RefusedNewer, State: *shown(held)}}, nil
	}
	if p := undecidable(held); p != nil {
		return nil, p
	}
	if failure != nil {
		p := problemOf(failure)
		p.State = shown(held)
		return nil, p
	}
	return &refusedOutput{wire.RefusedAnswer{Result: wire.RefusedPending, State: *shown(held)}}, nil
}

// undecidable returns the problem of a connection about which a report decides nothing, or
// nil.
func undecidable(h wire.TokenState) *Problem {
	if h.Status == perennial.StatusReconnectRequired {
		return none(h)
	}
	return denied(h)
}
