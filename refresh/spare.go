package refresh

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// keepSpare keeps a token set that lost the row to another attempt with the same refresh
// token, until the row's refresh token has worked: the provider may have ended that one
// when it gave this. If the row's was refused already, the connection goes on with this
// one at once. It is never revoked, because that could end the row's grant. A reusable
// token's sets all stay good. A failure costs at most the spare, which is rarely needed.
func (e *Engine) keepSpare(ctx context.Context, saved store.SaveResult, req store.SaveRequest) store.SaveResult {
	c := saved.Connection
	if saved.Stored || c.Status == perennial.StatusDisconnected || c.Generation != req.NewGeneration || c.RefreshTokenDigest == req.RefreshTokenDigest {
		return saved
	}
	if app, err := e.Apps.App(c.App); err == nil && app.Provider.ReplayClass == perennial.ReplayReusable {
		return saved
	}
	log := e.Log.With("connection_id", c.ID, "app", c.App, "generation", c.Generation)
	kept, err := e.Store.KeepSpare(ctx, req)
	if err == nil && kept {
		log.Warn("the provider gave two token sets for one refresh token; the second is kept until the first has worked")
		refused := c.Status == perennial.StatusReconnectRequired && (c.Reason == perennial.ReasonInvalidGrant || c.Reason == perennial.ReasonRotationLost)
		if refused {
			saved, _, err = e.takeSpare(ctx, c, req.AttemptID, req.Ledger)
		}
	}
	if err != nil {
		log.Error("a second token set for one refresh token may be lost", "error", err)
	}
	return saved
}

// takeSpare makes the row's spare token set its tokens. ok is false if there is none. The
// connection is then due at once, and a refusal of the new refresh token counts as any.
func (e *Engine) takeSpare(ctx context.Context, row perennial.Connection, attemptID string, line perennial.Attempt) (saved store.SaveResult, ok bool, err error) {
	spare, ok, err := e.Store.Spare(ctx, row.ID)
	if err != nil || !ok || spare.Generation != row.Generation {
		return store.SaveResult{Connection: row}, false, err
	}
	req := store.SaveRequest{
		ID: row.ID, AttemptID: attemptID, Generation: row.Generation, Digest: row.RefreshTokenDigest, NewGeneration: spare.Generation,
		SealedTokens: store.SealedTokens{AccessTokenSealed: spare.AccessTokenSealed, RefreshTokenSealed: spare.RefreshTokenSealed,
			RefreshTokenDigest: spare.RefreshTokenDigest, ExpiresAt: spare.ExpiresAt, NextRefreshAt: spare.ReceivedAt},
		Ledger: line,
	}
	if err = e.renumber(row, &req, row.NextGeneration()); err == nil {
		saved, err = e.save(ctx, row, &req)
	}
	if err != nil {
		return saved, false, fmt.Errorf("the spare token set of connection %s: %w", row.ID, err)
	}
	e.Log.Warn("the refresh token was refused; the connection goes on with its spare token set", "connection_id", row.ID, "stored", saved.Stored, "generation", saved.Connection.Generation)
	return saved, true, nil
}

// useSpare ends an attempt whose refusal would be terminal with the connection's spare
// token set. ok is false if it has none.
func (a *attempt) useSpare(ctx context.Context, reply provider.Reply) (res Result, ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Timing.SaveTimeout)
	defer cancel()
	saved, ok, err := a.takeSpare(ctx, a.row, a.row.Open.ID, a.ledger(reply))
	if err != nil || !ok {
		return Result{}, false, err
	}
	a.note(ctx, reply)
	res = savedResult(saved, a.clock())
	res.Outcome, res.Code, res.HTTPStatus = perennial.OutcomeAlreadyFresh, reply.Code, reply.HTTPStatus
	return res, true, nil
}

// replaced returns the reason of a refusal that is about to end the connection: another
// one if its provider limits the grants of a user and client, and a newer grant ended it.
func (a *attempt) replaced(ctx context.Context, reason perennial.Reason) perennial.Reason {
	if reason != perennial.ReasonInvalidGrant || a.app.Provider.GrantsPerUser == 0 {
		return reason
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Timing.SaveTimeout/2)
	defer cancel()
	newer, err := a.Store.GrantReplaced(ctx, a.row)
	if err != nil {
		a.log.Warn("it is not known whether a newer grant ended this one", "error", err)
	}
	if newer {
		return perennial.ReasonGrantReplaced
	}
	return reason
}
