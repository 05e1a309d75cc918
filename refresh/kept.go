package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/store"
)

// memory holds the token sets that this process received and has not seen stored:
// whoever asks for one of their connections must know of them, wherever else they
// are kept. The zero value is empty.
type memory struct {
	mu   sync.Mutex
	sets []store.SaveRequest // nearly always none
}

func (m *memory) put(req store.SaveRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets = append(m.sets, req)
}

func (m *memory) drop(req store.SaveRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets = slices.DeleteFunc(m.sets, func(s store.SaveRequest) bool { return s.AttemptID == req.AttemptID })
}

func (m *memory) kept() []store.SaveRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sets)
}

func (m *memory) holds(id string, generation int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.sets, func(s store.SaveRequest) bool { return s.ID == id && s.NewGeneration > generation })
}

// Persist stores a token set that an earlier [Engine.Refresh] could not. It may
// be repeated, by any process: the save's own guards decide. An error means that
// the store could not be told; nothing is lost then.
func (e *Engine) Persist(ctx context.Context, req store.SaveRequest) (Result, error) {
	saved, err := e.Store.Save(ctx, req)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		e.memory.drop(req)
		return Result{Outcome: perennial.OutcomeNotFound}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("store the kept tokens of connection %s: %w", req.ID, err)
	}
	e.memory.drop(req)
	seam.At(seam.AfterCommit, req.ID)
	_, now, err := e.Store.Get(ctx, req.ID)
	if err != nil {
		return Result{}, fmt.Errorf("store the kept tokens of connection %s: %w", req.ID, err)
	}
	e.Log.Info("kept tokens stored", "connection_id", req.ID, "stored", saved.Stored, "generation", saved.Connection.Generation)
	return Result{Outcome: savedOutcome(saved), Connection: saved.Connection, Now: now, Recovered: saved.Recovered}, nil
}

// Keep stores a token set that an earlier [Engine.Refresh] could not, or keeps it
// in the spool: it tries until one of them takes it. It is for a process that
// refreshes beside Temporal, whose workflow would else hold the set; it is the
// only copy, so nothing but the end of ctx ends the trying.
func (e *Engine) Keep(ctx context.Context, req store.SaveRequest) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := e.Persist(ctx, req)
		if err == nil {
			if e.Spool != nil {
				return e.Spool.Drop(req)
			}
			return nil
		}
		if e.Spool != nil && e.Spool.Keep(req) == nil {
			return nil // it is stored from there
		}
		e.Log.Error("a token set is in memory only: neither the store nor the spool takes it", "connection_id", req.ID, "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// StoreKept stores every token set that this process or its spool holds. It is
// called at start and from time to time; a set that the store does not take stays.
func (e *Engine) StoreKept(ctx context.Context) error {
	return e.storeKept(ctx, func(store.SaveRequest) bool { return true })
}

// storeKeptOf stores what is kept of the connection above its generation, and
// proves the spool ready. While either fails nothing is claimed, and nothing presented.
func (e *Engine) storeKeptOf(ctx context.Context, id string, generation int64) error {
	holds := e.memory.holds(id, generation)
	var err error
	if e.Spool != nil {
		if err := e.Spool.Ready(); err != nil {
			return fmt.Errorf("refresh connection %s: %w", id, err)
		}
		if !holds {
			holds, err = e.Spool.Holds(id, generation)
		}
	}
	if err == nil && holds {
		err = e.storeKept(ctx, func(r store.SaveRequest) bool { return r.ID == id })
	}
	if err != nil {
		return fmt.Errorf("refresh connection %s, whose tokens are kept and not stored yet: %w", id, err)
	}
	return nil
}

func (e *Engine) storeKept(ctx context.Context, wanted func(store.SaveRequest) bool) error {
	kept := e.memory.kept()
	var errs []error
	if e.Spool != nil {
		received := len(kept)
		spooled, err := e.Spool.Kept()
		errs = append(errs, err)
		for _, req := range spooled { // most of what memory holds is spooled too
			if !slices.ContainsFunc(kept[:received], func(k store.SaveRequest) bool { return k.AttemptID == req.AttemptID }) {
				kept = append(kept, req)
			}
		}
	}
	for _, req := range kept {
		if !wanted(req) {
			continue
		}
		_, err := e.Persist(ctx, req)
		if err == nil && e.Spool != nil {
			err = e.Spool.Drop(req)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
