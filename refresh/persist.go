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
// help: the database refuses its values. The caller keeps it and tries again later.
var ErrSetAside = errors.New("the token set is set aside")

// Persist stores a token set that an earlier [Engine.Refresh] could not. It may be
// repeated, by any process. The set may come from anywhere: Persist believes only what
// its seals prove, see [Engine.prove].
//
// An error of [perennial.CodeInvalid] says that the set is not the connection's, or can
// never be stored. Any other error loses nothing, and the caller must call Persist
// again. The code is [perennial.CodeNotFound] if the connection's row is missing, and
// [perennial.CodeSealed] if a process with other keys may open the set. With
// [ErrSetAside] as the cause, calling again at once does not help. After both of the
// last, the row says that the set is set aside: nobody presents the token before it.
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
	row, now, err := e.Store.Get(ctx, perennial.WorkerAccess(), req.ID)
	if err != nil {
		return Result{}, err
	}
	if err := perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration); err != nil {
		return Result{}, err
	}
	proven, token, err := e.prove(ctx, row, req)
	if errors.Is(err, errUseless) || perennial.CodeOf(err) == perennial.CodeSealed && movedOn(row, req) {
		return Result{Outcome: perennial.OutcomeAlreadyFresh, Connection: row, Now: now}, nil
	}
	var saved store.SaveResult
	if err == nil {
		proven = bounded(proven, now)
		saved, err = e.save(ctx, row, &proven)
	}
	if err != nil {
		if waits := perennial.CodeOf(err) == perennial.CodeSealed || errors.Is(err, ErrSetAside); waits && e.markSetAside(ctx, req) {
			err = fmt.Errorf("%w; %w", err, errMarked)
		}
		return Result{}, err
	}
	seam.At(seam.AfterCommit, req.ID)
	saved = e.keepSpare(ctx, saved, proven)
	e.revokeUnwanted(ctx, saved, token)
	e.Log.Info("unsaved tokens stored", "connection_id", req.ID, "stored", saved.Stored, "generation", saved.Connection.Generation)
	return savedResult(saved, now), nil
}

// errMarked is part of the error for a set that waits to be stored if the row says so.
// Then the claim decides whether the token before the set may be presented.
var errMarked = errors.New("its connection is marked")

// markSetAside makes the row say that a set of ours waits to be stored. If it fails, the
// next try to store the set marks the row.
func (e *Engine) markSetAside(ctx context.Context, req store.SaveRequest) (marked bool) {
	_, err := e.Store.MarkSetAside(ctx, setAsideRequest(req))
	if err != nil {
		e.Log.Error("the row does not say yet that a token set is set aside", "connection_id", req.ID, "error", err)
	}
	return err == nil
}

func setAsideRequest(req store.SaveRequest) store.SetAsideRequest {
	return store.SetAsideRequest{ID: req.ID, Generation: req.Generation, NewGeneration: req.NewGeneration}
}

// maxSkew is how far after the database's now a time of a set may lie that cannot be in
// the future: after a failover the clock may be a little behind.
const maxSkew = time.Minute

// bounded bounds the times of a set. They are the database's, and its clock may have
// been set since. A time too far ahead becomes unknown, and the connection is due at
// once.
func bounded(req store.SaveRequest, now time.Time) store.SaveRequest {
	last := now.Add(maxLife)
	for _, t := range []*time.Time{&req.ExpiresAt, &req.RefreshTokenExpiresAt, &req.GrantExpiresAt, &req.NextRefreshAt, &req.NextAttemptAt} {
		if t.After(last) {
			*t, req.NextRefreshAt = time.Time{}, now
		}
	}
	for _, t := range []*time.Time{&req.AmbiguousSince, &req.Ledger.StartedAt} {
		if t.After(now.Add(maxSkew)) {
			*t = now
		}
	}
	if req.NextRefreshAt.IsZero() || req.NextRefreshAt.After(last) {
		req.NextRefreshAt = now
	}
	return req
}

// save stores a token set of the row's connection. If the database refuses one of its
// values for good, save stores the tokens and their expiry alone. It changes req if the
// tokens had to be sealed for another generation.
func (e *Engine) save(ctx context.Context, row perennial.Connection, req *store.SaveRequest) (store.SaveResult, error) {
	saved, err := e.saveNumbered(ctx, row, req)
	if !db.IsDataError(err) {
		return saved, err
	}
	e.Log.Error("the database refuses a part of a token set: its tokens are stored without the optional members", "connection_id", req.ID, "error", err)
	alone := withoutOptional(*req)
	if saved, err = e.saveNumbered(ctx, row, &alone); db.IsDataError(err) {
		return saved, errors.Join(err, ErrSetAside)
	}
	if err == nil {
		*req = alone
	}
	return saved, err
}

// maxRenumbered bounds how often one call seals its tokens for another generation.
const maxRenumbered = 3

// saveNumbered stores a token set. If the row learnt meanwhile that the set's generation
// was given out before, it seals the tokens for the next one.
func (e *Engine) saveNumbered(ctx context.Context, row perennial.Connection, req *store.SaveRequest) (saved store.SaveResult, err error) {
	for range maxRenumbered {
		saved, err = e.Store.Save(ctx, *req)
		taken, ok := errors.AsType[*store.TakenError](err)
		if !ok {
			return saved, err
		}
		if err := e.renumber(row, req, taken.Next); err != nil {
			return saved, err
		}
		e.Log.Warn("a token set is numbered anew: its number was given out before the database went backwards", "connection_id", req.ID, "generation", taken.Generation, "next", taken.Next)
	}
	return saved, err
}

// renumber seals the tokens of a set for generation next. It leaves req as it is if the
// keys are not here.
func (e *Engine) renumber(row perennial.Connection, req *store.SaveRequest, next int64) error {
	out := *req
	for field, sealed := range map[seal.Field]*[]byte{seal.FieldAccessToken: &out.AccessTokenSealed, seal.FieldRefreshToken: &out.RefreshTokenSealed} {
		token, err := e.Sealer.Open(seal.BindingOf(row, field, req.NewGeneration), *sealed)
		if err == nil {
			*sealed, err = e.Sealer.Seal(seal.BindingOf(row, field, next), token)
		}
		if err != nil {
			return fmt.Errorf("seal the tokens for generation %d: %w", next, err)
		}
	}
	out.NewGeneration, out.Seal = next, nil
	*req = out
	return nil
}
