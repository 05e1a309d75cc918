package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// entry is what a client knows of one connection.
type entry struct {
	id   string
	last atomic.Pointer[snapshot] // nil: nothing that may be handed out is known

	// mu is never held while anything is waited for.
	mu     sync.Mutex
	flight *flight // under way; at most one

	// Only the flight uses the rest.
	refreshAfter time.Time     // no refresh is asked for before it: the last one brought nothing
	backoff      time.Duration // how far that was ahead
	loadAfter    time.Time     // the backend is not asked before it: it was out of reach
	loadErr      error         // so it said
	usedAt       time.Time     // when use was noted last
	mended       mended        // also read by the transport, under mu
}

// mended is the generation that a 401's refresh brought. A 401 to that one too
// within a while is not mended by one more refresh.
type mended struct {
	generation int64
	at         time.Time
}

// flight is one asking of the backend that many callers wait for.
type flight struct {
	beyond int64         // the generation that is not good enough
	loaded chan struct{} // closed when the row was read, or could not be
	done   chan struct{} // closed when got is set
	got    result
}

// got is what came of a flight. With err, snapshot is what was last known, for
// metrics; it may be nil.
type result struct {
	snapshot  *snapshot
	source    Source
	refreshed bool // by this flight's asking
	err       error
}

// entryOf returns the connection's entry, making it where there is none.
func (c *Client) entryOf(id string) *entry {
	if known, ok := c.entries.Load(id); ok {
		return known.(*entry)
	}
	known, loaded := c.entries.LoadOrStore(id, &entry{id: id})
	if !loaded && c.count.Add(1) > int64(c.MaxConnections) {
		c.forget()
	}
	return known.(*entry)
}

// forget drops connections that were not asked for lately, until a tenth of the
// room is free. One that is under way goes on; its next caller loads again.
func (c *Client) forget() {
	now := c.Now()
	for _, idle := range []bool{true, false} {
		c.entries.Range(func(id, known any) bool {
			s := known.(*entry).last.Load()
			if !idle || s == nil || s.elapsed(now) > memoryLasts {
				c.drop(id.(string), known.(*entry))
			}
			return c.count.Load() > int64(c.MaxConnections)*9/10
		})
	}
}

func (c *Client) drop(id string, e *entry) {
	if c.entries.CompareAndDelete(id, e) {
		c.count.Add(-1)
	}
}

// fetch gets a token of a generation above beyond, past memory. It waits for the
// flight that is under way, or starts one.
func (c *Client) fetch(ctx context.Context, id string, beyond int64) result {
	e := c.entryOf(id)
	for {
		f, joined := e.join(ctx, c, beyond)
		got, left := c.wait(ctx, e, f, beyond)
		switch {
		case left, !joined:
			return got
		case got.err == nil && (got.snapshot.token.Generation > beyond || f.beyond >= beyond):
			got.refreshed = false // by another's asking
			return got
		case got.err != nil && f.beyond <= beyond:
			return got
		}
		// Others asked for more, or for less, than this caller does.
	}
}

// join returns the flight that is under way, else starts one.
func (e *entry) join(ctx context.Context, c *Client, beyond int64) (f *flight, joined bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight, true
	}
	f = &flight{beyond: beyond, loaded: make(chan struct{}), done: make(chan struct{})}
	e.flight = f
	ctx = context.WithoutCancel(ctx) // one caller leaving must not fail the others
	c.work.Go(func() {
		got := c.fly(ctx, e, f)
		e.mu.Lock()
		f.got, e.flight = got, nil
		e.mu.Unlock()
		close(f.done)
	})
	return f, false
}

// wait waits for a flight. Who has a token that still lives does not wait until
// it is gone, see patience; left says that it left so, or by its context.
func (c *Client) wait(ctx context.Context, e *entry, f *flight, beyond int64) (out result, left bool) {
	timer := time.NewTimer(c.deadline(e, beyond))
	defer timer.Stop()
	loaded := f.loaded
	for {
		select {
		case <-f.done:
			return f.got, false
		default:
		}
		select {
		case <-f.done:
			return f.got, false
		case <-loaded:
			loaded = nil
			timer.Reset(c.deadline(e, beyond))
		case <-ctx.Done():
			return result{snapshot: e.last.Load(), source: SourceNone, err: waiting(e.id, ctx)}, true
		case <-timer.C:
			if s := e.last.Load(); s != nil && s.usable(s.elapsed(c.Now()), beyond) {
				return result{snapshot: s, source: SourceCallerGone}, true
			}
		}
	}
}

// patience is how long to wait before what is in memory is taken: at most half of
// what is left of it, and not at all while the backend is out of reach.
func (c *Client) deadline(e *entry, beyond int64) time.Duration {
	if c.away.Load() {
		return 0
	}
	if s := e.last.Load(); s != nil {
		if elapsed := s.elapsed(c.Now()); s.usable(elapsed, beyond) {
			return min(c.Patience, s.state.Left(elapsed)/2)
		}
	}
	return c.Patience
}
