package refresh

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// keep adds the reply's body to the close of its attempt, sealed, if it may have tokens
// that could not be read. Without keys that seal it the reply is lost; prepare has
// proven that they do.
func (a *attempt) keep(reply provider.Reply, req *store.CloseRequest) {
	if reply.Unread.Body.IsZero() {
		return
	}
	sealed, err := a.Sealer.Seal(seal.BindingOf(a.row, seal.FieldKeptReply, a.row.Generation), reply.Unread.Body)
	if err != nil {
		a.log.Error("a reply that may have tokens could not be read, and not be sealed", "error", err)
		return
	}
	req.Kept, req.Bar = &store.KeptReply{Sealed: sealed, Whole: reply.Unread.Whole}, barsWhileKept(a.app.Provider.At(firstSent(a.row), a.clock()).ReplayClass)
	a.log.Error("the provider's reply may have tokens and could not be read: correct its description and run `perennial recover`", "status_code", reply.HTTPStatus)
}

// closeRow closes the attempt in the row. With a reply that is kept it tries until ctx
// ends: nobody else has the reply.
func (a *attempt) closeRow(ctx context.Context, req store.CloseRequest) (row perennial.Connection, closed bool, err error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		row, closed, err = a.Store.CloseAttempt(ctx, req)
		if err == nil || req.Kept == nil {
			return row, closed, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return row, closed, err
		}
	}
}

// barsWhileKept reports whether a refresh token of the class is not presented while a
// reply to it is kept. A reusable one stays good, and within a grace window the provider
// answers again; both are what mends the connection without a person.
func barsWhileKept(class perennial.ReplayClass) bool {
	return !harmlessReplay(class)
}

// Reading says how to read a kept reply: the app's description, corrected.
type Reading struct {
	Under     string              // see [provider.Entry.TokensUnder]; empty: the app's
	MembersAt map[string][]string // see [provider.Entry.MembersAt]; laid over the app's
}

// over lays a reading over an entry.
func (r Reading) over(e provider.Entry) provider.Entry {
	if r.Under != "" {
		e.TokensUnder = r.Under
	}
	if len(r.MembersAt) > 0 {
		members := map[string][]string{}
		for _, m := range []map[string][]string{e.MembersAt, r.MembersAt} {
			for name, paths := range m {
				members[name] = paths
			}
		}
		e.MembersAt = members
	}
	return e
}

// KeptReplies has the kept replies: [store.Store] in production.
type KeptReplies interface {
	KeptReply(ctx context.Context, id string) (store.KeptReply, bool, error)
}

// Recover reads the kept reply of a connection once more and stores its tokens. It
// presents nothing. If the connection has none, or has newer tokens by now, the error
// has [perennial.CodeConflict]; if the reply still cannot be read, it has
// [perennial.CodeInvalid] and names the reply's members, without their values. A reply
// without an access token brings its refresh token: the connection keeps the access
// token that it has, and is due at once.
func (e *Engine) Recover(ctx context.Context, from KeptReplies, id string, reading Reading) (Result, error) {
	row, now, err := e.Store.Get(ctx, perennial.WorkerAccess(), id)
	if err != nil {
		return Result{}, err
	}
	kept, ok, err := from.KeptReply(ctx, id)
	if err != nil {
		return Result{}, err
	}
	if !ok || kept.Generation != row.Generation {
		return Result{}, perennial.Errorf(perennial.CodeConflict, "no reply of connection %s is kept that could bring newer tokens: there is nothing to recover", id)
	}
	req, token, err := e.recovered(row, kept, reading, now)
	if err != nil {
		return Result{}, fmt.Errorf("recover connection %s: %w", id, err)
	}
	saved, err := e.save(ctx, row, &req)
	if err != nil {
		return Result{}, fmt.Errorf("recover connection %s: %w", id, err)
	}
	if !saved.Stored {
		return Result{}, perennial.Errorf(perennial.CodeConflict, "connection %s changed meanwhile: look at it with `perennial show`", id)
	}
	e.revokeUnwanted(ctx, saved, token)
	e.Log.Info("tokens recovered from a kept reply", "connection_id", id, "app", row.App, "generation", saved.Connection.Generation)
	return savedResult(saved, now), nil
}

// recovered makes the request to save what a kept reply brings.
func (e *Engine) recovered(row perennial.Connection, kept store.KeptReply, reading Reading, now time.Time) (req store.SaveRequest, token perennial.Secret, err error) {
	app, err := e.Apps.App(row.App)
	if err == nil {
		app, err = app.At(row.Host)
	}
	if err != nil {
		return req, token, err
	}
	body, err := e.Sealer.Open(seal.BindingOf(row, seal.FieldKeptReply, kept.Generation), kept.Sealed)
	if err != nil {
		return req, token, err
	}
	t, cut, err := provider.ReadUnread(provider.Unread{Body: body, Whole: kept.Whole}, reading.over(app.Provider), kept.SentAt)
	if err != nil {
		return req, token, err
	}
	old, err := e.Sealer.Open(seal.BindingOf(row, seal.FieldRefreshToken, row.Generation), row.RefreshTokenSealed)
	if err != nil {
		return req, token, err
	}
	alone := t.AccessToken.IsZero()
	if alone {
		if t.AccessToken, err = e.Sealer.Open(seal.BindingOf(row, seal.FieldAccessToken, row.Generation), row.AccessTokenSealed); err != nil {
			return req, token, err
		}
		t.ExpiresIn = row.ExpiresAt.Sub(kept.SentAt)
	}
	if token = t.RefreshToken; token.IsZero() {
		token = old
	}
	w, err := Tokens(e.Sealer, app, row, row.NextGeneration(), t, token, kept.SentAt)
	if err != nil {
		return req, token, err
	}
	if alone {
		w.ExpiresAt, w.NextRefreshAt = row.ExpiresAt, now
	}
	attempt := uuid.NewString()
	req = store.SaveRequest{
		ID: row.ID, AttemptID: attempt, Generation: row.Generation, Digest: row.RefreshTokenDigest, NewGeneration: w.Generation, SealedTokens: w.SealedTokens, MissingScopes: judgeScopes(app, row, t.Scopes),
		Ledger: perennial.Attempt{ID: attempt, ConnectionID: row.ID, Generation: row.Generation, Trigger: perennial.TriggerRecover, Outcome: perennial.OutcomeRefreshed, StartedAt: kept.SentAt},
	}
	if cut && app.Provider.ReplayClass != perennial.ReplayReusable {
		req.AmbiguousSince = kept.SentAt
	}
	return req, token, nil
}
