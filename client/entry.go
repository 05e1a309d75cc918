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
	last atomic.Pointer[snapshot] // nil: no usable token is known

	// mu is never held during a wait.
	mu     sync.Mutex
	flight *flight // the one in progress, or nil

	// Only the flight uses the rest.
	refreshAfter time.Time     // no refresh before it: the last one brought nothing
	backoff      time.Duration // the wait before refreshAfter
	loadAfter    time.Time     // no load before it: the backend was out of reach
	loadErr      error         // the error of that load
	usedAt       time.Time     // when the last use was recorded
	mended       mended        // the transport reads it too, under mu
}

// mended is the generation that the refresh after a 401 brought. If an API answers 401
// to it soon, another refresh does not help.
type mended struct {
	generation int64
	at         time.Time
}

// flight is one load or refresh that many callers wait for.
type flight struct {
	need                 // what its callers want
	loaded chan struct{} // closed when the load has ended
	done   chan struct{} // closed when got is set
	got    result
}

// need is a caller's demand on a flight.
type need struct {
	beyond int64        // the generation that is too old
	why    RefusalCause // what a product reported of it; empty: nothing
}

// result is the result of a flight. With an error, snapshot is the last known state,
// for metrics; it may be nil.
type result struct {
	snapshot  *snapshot
	source    Source
	refreshed bool // this flight's request brought it
	err       error
}

// entryOf returns the connection's entry and creates it if missing.
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

// forget drops connections that nobody has used lately, until a tenth of the room is
// free. A flight in progress goes on; its next caller loads again.
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

// fetch gets a token with a generation above beyond, without looking at memory. It
// joins the flight in progress, or starts one.
func (c *Client) fetch(ctx context.Context, id string, beyond int64) result {
	return c.fetchFor(ctx, id, need{beyond: beyond})
}

// fetchFor is fetch for a caller who may have a refusal to report.
func (c *Client) fetchFor(ctx context.Context, id string, n need) result {
	e := c.entryOf(id)
	for {
		f, joined := e.join(ctx, c, n)
		got, left := c.wait(ctx, e, f, n.beyond)
		switch {
		case left, !joined:
			return got
		case got.err == nil && (got.snapshot.token.Generation > n.beyond || f.beyond >= n.beyond):
			got.refreshed = false // another caller's request brought it
			return got
		case got.err != nil && f.beyond <= n.beyond && (n.why == "" || f.why == n.why):
			return got
		}
		// The flight's callers wanted another generation than this caller does, or they
		// had nothing to report.
	}
}

// join returns the flight in progress, or starts one.
func (e *entry) join(ctx context.Context, c *Client, n need) (f *flight, joined bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight, true
	}
	f = &flight{need: n, loaded: make(chan struct{}), done: make(chan struct{})}
	e.flight = f
	ctx = context.WithoutCancel(ctx) // one caller that leaves must not fail the others
	c.work.Go(func() {
		got := c.fly(ctx, e, f)
		e.mu.Lock()
		f.got, e.flight = got, nil
		e.mu.Unlock()
		close(f.done)
	})
	return f, false
}

// wait waits for a flight. A caller with a living token waits only until deadline. left
// says that the caller stopped waiting, for that reason or because its context ended.
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
				return result{snapshot: s, source: SourceRemaining}, true
			}
		}
	}
}

// deadline returns how long to wait before using the token in memory: at most half of
// its remaining life, and not at all while the backend is out of reach.
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
