package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
)

// ErrSetAside is the cause if a token set is not stored and retrying at once does not
// help: it does not open with this process's keys and no open attempt accounts for it,
// or the database refuses it. The caller keeps it and tries again later.
var ErrSetAside = errors.New("the token set is set aside")

// Persist stores a token set that an earlier [Engine.Refresh] could not. It may be
// repeated, by any process. The set may come from anywhere: it is stored only if both
// tokens open as this connection's, at its new generation.
//
// An error of [perennial.CodeInvalid] says that the set can never be stored. Any other
// error loses nothing, and the caller must call Persist again. The code is
// [perennial.CodeNotFound] if the connection's row is missing, and
// [perennial.CodeSealed] if a process with other keys may open the set. With
// [ErrSetAside] as the cause, calling again at once does not help.
func (e *Engine) Persist(ctx context.Context, req store.SaveRequest) (Result, error) {
	res, err := e.persist(ctx, req)
	if err != nil {
		err = fmt.Errorf("store the unsaved tokens of connection %s: %w", req.ID, err)
		if refused := perennial.CodeOf(err) == perennial.CodeInvalid; (refused || parked(err)) && e.memory.first(req) {
			e.observe(Observation{UnsavedRefused: true})
			e.Log.Error("an unsaved token set cannot be stored", "connection_id", req.ID, "attempt_id", req.AttemptID, "generation", req.NewGeneration, "for_good", refused, "error", err)
		}
		return Result{}, err
	}
	e.memory.drop(req)
	return res, nil
}

// parked reports whether an unsaved set waits for something that no retry brings about.
func parked(err error) bool {
	code := perennial.CodeOf(err)
	return code == perennial.CodeNotFound || code == perennial.CodeSealed || errors.Is(err, ErrSetAside)
}

func (e *Engine) persist(ctx context.Context, req store.SaveRequest) (Result, error) {
	row, now, err := e.Store.Get(ctx, req.ID)
	if err != nil {
		return Result{}, err
	}
	if err := perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration); err != nil {
		return Result{}, err
	}
	token, err := e.opened(row, req)
	switch {
	case err == nil:
	case row.Generation > req.Generation || row.Status == perennial.StatusDisconnected:
		return Result{Outcome: perennial.OutcomeAlreadyFresh, Connection: row, Now: now}, nil // it can no longer replace anything
	case row.Open.ID == "" || row.Open.ID != req.AttemptID || row.Open.Digest != req.Digest:
		return Result{}, errors.Join(err, ErrSetAside)
	default: // the row's own attempt: another process has the keys
		return Result{}, err
	}
	if !token.IsZero() {
		req.RefreshTokenDigest = token.Digest() // only the opened token says what the set holds
	}
	saved, err := e.save(ctx, firstRetry(req, now))
	if err != nil {
		return Result{}, err
	}
	seam.At(seam.AfterCommit, req.ID)
	e.revokeUnwanted(ctx, saved, token)
	e.Log.Info("unsaved tokens stored", "connection_id", req.ID, "stored", saved.Stored, "generation", saved.Connection.Generation)
	return Result{Outcome: savedOutcome(saved), Connection: saved.Connection, Now: now, Recovered: saved.Recovered}, nil
}

// opened opens both tokens of a set as the row's at the set's new generation, and
// returns the refresh token.
func (e *Engine) opened(row perennial.Connection, req store.SaveRequest) (token perennial.Secret, err error) {
	if e.Sealer == nil { // this engine neither makes nor receives sets
		return token, nil
	}
	if _, err = e.Sealer.Open(seal.BindingOf(row, seal.FieldAccessToken, req.NewGeneration), req.AccessTokenSealed); err != nil {
		return token, err
	}
	return e.Sealer.Open(seal.BindingOf(row, seal.FieldRefreshToken, req.NewGeneration), req.RefreshTokenSealed)
}

// firstRetry bounds the times of a set, because its seal does not cover them: a time
// too far ahead becomes unknown, and the connection is due at once.
func firstRetry(req store.SaveRequest, now time.Time) store.SaveRequest {
	last := now.Add(maxLife)
	for _, t := range []*time.Time{&req.ExpiresAt, &req.RefreshTokenExpiresAt, &req.GrantExpiresAt, &req.NextRefreshAt, &req.NextAttemptAt} {
		if t.After(last) {
			*t, req.NextRefreshAt = time.Time{}, now
		}
	}
	if req.AmbiguousSince.After(now) {
		req.AmbiguousSince = now
	}
	if req.NextRefreshAt.After(last) {
		req.NextRefreshAt = now
	}
	return req
}

// save stores a token set. If the database refuses one of its values for good, save
// stores the tokens and their expiry alone: without the provider's text and without the
// clocks that a row may keep.
func (e *Engine) save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	saved, err := e.Store.Save(ctx, req)
	if !db.IsDataError(err) {
		return saved, err
	}
	e.Log.Error("the database refuses a part of a token set: its tokens are stored without the optional members", "connection_id", req.ID, "error", err)
	req.TokenType, req.Scopes, req.Metadata, req.FailingCode = "", nil, nil, ""
	req.RefreshTokenExpiresAt, req.GrantExpiresAt = time.Time{}, time.Time{}
	l := req.Ledger
	req.Ledger = perennial.Attempt{ID: l.ID, ConnectionID: l.ConnectionID, Generation: l.Generation, Trigger: l.Trigger, Outcome: l.Outcome, HTTPStatus: l.HTTPStatus, StartedAt: l.StartedAt}
	if saved, err = e.Store.Save(ctx, req); db.IsDataError(err) {
		return saved, errors.Join(err, ErrSetAside)
	}
	return saved, err
}
