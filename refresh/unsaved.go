package refresh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

// memory holds the token sets that this process received and has not seen stored. A
// caller that asks for one of their connections must see them, wherever else they are.
// The zero value is empty.
type memory struct {
	mu       sync.Mutex
	sets     []store.SaveRequest // nearly always empty
	reported map[string]bool     // attempts whose unsaved sets were logged
}

// first reports whether this is its first call for the set.
func (m *memory) first(req store.SaveRequest) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reported == nil || len(m.reported) >= maxReported {
		m.reported = map[string]bool{}
	}
	before := m.reported[req.AttemptID]
	m.reported[req.AttemptID] = true
	return !before
}

// maxReported bounds the memory of logged sets.
const maxReported = 10_000

func (m *memory) add(req store.SaveRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets = append(m.sets, req)
}

func (m *memory) drop(req store.SaveRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sets = slices.DeleteFunc(m.sets, func(s store.SaveRequest) bool { return s.AttemptID == req.AttemptID })
}

func (m *memory) list() []store.SaveRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.sets)
}

func (m *memory) has(id string, generation int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.sets, func(s store.SaveRequest) bool { return s.ID == id && s.Generation >= generation })
}

// SaveLater stores a token set that an earlier [Engine.Refresh] could not store, or
// puts it into the spool: it tries until one of them takes the set. Use it in a process
// that refreshes without Temporal, whose workflow would otherwise hold the set. This is
// the only copy, so only the end of ctx stops the tries.
func (e *Engine) SaveLater(ctx context.Context, req store.SaveRequest) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		_, err := e.Persist(ctx, req)
		if err == nil {
			if e.Spool != nil {
				return e.Spool.Drop(req)
			}
			return nil
		}
		if e.Spool != nil && e.Spool.Add(req) == nil {
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

// StoreUnsaved stores every token set that this process or its spool holds. Call it at
// start and regularly. A set that the store does not take stays. A set that waits for
// its row or for its keys is logged once and is no error.
func (e *Engine) StoreUnsaved(ctx context.Context) error {
	errs := e.storeUnsaved(ctx, func(store.SaveRequest) bool { return true })
	return errors.Join(slices.DeleteFunc(errs, parked)...)
}

// storeUnsavedOf stores the connection's unsaved token sets above its generation, and
// proves that the spool is ready. The engine claims and presents only after both. For a
// set that is set aside it returns no error: its row says so, and the claim decides.
func (e *Engine) storeUnsavedOf(ctx context.Context, id string, generation int64) error {
	if e.Spool != nil {
		if err := e.Spool.Ready(); err != nil {
			return fmt.Errorf("refresh connection %s: %w", id, err)
		}
	}
	holds, err := e.hasUnsaved(id, generation)
	if err == nil && holds {
		errs := e.storeUnsaved(ctx, func(r store.SaveRequest) bool { return r.ID == id })
		marked := slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, errMarked) })
		// Another connection's file may have caused the error: check again.
		holds, err = e.hasUnsaved(id, generation)
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil || errors.Is(err, errMarked) })
		if err == nil && holds && (len(errs) > 0 || !marked) {
			err = errors.Join(append(errs, errStillUnsaved)...)
		}
	}
	if err != nil {
		return fmt.Errorf("refresh connection %s, whose newest tokens are not stored yet: %w", id, err)
	}
	return nil
}

var errStillUnsaved = errors.New("an unsaved token set is still there")

// hasUnsaved reports whether this process or its spool holds a token set that may
// replace the connection's generation.
func (e *Engine) hasUnsaved(id string, generation int64) (bool, error) {
	if e.memory.has(id, generation) || e.Spool == nil {
		return e.memory.has(id, generation), nil
	}
	return e.Spool.Has(id, generation)
}

// storeUnsaved tries to store every wanted set. The error of one set does not stop the
// others.
func (e *Engine) storeUnsaved(ctx context.Context, wanted func(store.SaveRequest) bool) (errs []error) {
	kept := e.memory.list()
	if e.Spool != nil {
		received := len(kept)
		spooled, err := e.Spool.List()
		errs = append(errs, err)
		for _, req := range spooled { // most of what memory holds is spooled too
			if !slices.ContainsFunc(kept[:received], func(k store.SaveRequest) bool { return k.AttemptID == req.AttemptID }) {
				kept = append(kept, req)
			}
		}
	}
	for _, req := range kept {
		if wanted(req) {
			errs = append(errs, e.settle(ctx, req))
		}
	}
	return errs
}

// settle stores one unsaved set and drops it from the spool. If a set can never be
// stored, settle sets it aside in the spool, where it bars nothing.
func (e *Engine) settle(ctx context.Context, req store.SaveRequest) error {
	_, err := e.Persist(ctx, req)
	switch {
	case perennial.CodeOf(err) == perennial.CodeInvalid:
		e.memory.drop(req)
		if spool, ok := e.Spool.(interface{ SetAside(store.SaveRequest) error }); ok {
			return spool.SetAside(req)
		}
	case err == nil && e.Spool != nil:
		return e.Spool.Drop(req)
	}
	return err
}
