package client

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/client/words"
)

// How long the client waits with the next refresh after one that brought nothing.
// Meanwhile it reads the row, and so finds a newer token at once.
const (
	minBackoff = time.Second
	maxBackoff = 15 * time.Second
)

// mendedLasts is how long the refresh for one 401 counts for further 401s.
const mendedLasts = time.Minute

// awayRetry is when to try a backend again that was out of reach. Without it, every
// call at once would meet the backend when it comes back.
const awayRetry = 250 * time.Millisecond

// waiting returns the error of a caller whose context ended.
func waiting(id string, ctx context.Context) error {
	return fmt.Errorf("wait for an access token of connection %s: %w", id, ctx.Err())
}

// fly loads the connection. If its token is too old, or its generation not above
// beyond, fly asks for a refresh and loads again. It runs at most once at a time for
// each connection.
func (c *Client) fly(ctx context.Context, e *entry, f *flight) result {
	beyond := f.beyond
	s, err := c.load(ctx, e)
	close(f.loaded)
	if s == nil {
		return c.unread(e, beyond, err)
	}
	beyond = c.forgetAhead(e, s, beyond)
	now := c.Now()
	if err := denied(s); err != nil {
		return result{snapshot: s, source: SourceNone, err: err}
	}
	if s.enough(s.elapsed(now), beyond) || s.state.Status != words.StatusActive {
		return c.settle(ctx, e, s, result{source: SourceStore}, beyond, nil)
	}
	out := result{source: SourceRefresh}
	renewed := e.mendedBy(s.token.Generation, now) && beyond >= s.token.Generation && f.why != RevokedAtProvider
	if now.Before(e.refreshAfter) || s.floored(now) || renewed {
		return c.settle(ctx, e, s, result{source: SourceStore}, beyond, nil)
	}
	why := f.why
	if beyond < s.token.Generation {
		why = "" // the report is of an older token
	}
	refreshErr := c.refresh(ctx, e, s.token.Generation, why)
	if next, err := c.load(ctx, e); next != nil {
		out.refreshed = next.token.Generation > s.token.Generation
		s = next
		beyond = c.forgetAhead(e, s, beyond)
	} else if words.CodeOf(err) == words.CodeNotFound {
		return c.unread(e, beyond, err)
	}
	if out.refreshed && beyond > 0 {
		e.mend(s.token.Generation, c.Now())
	}
	if err := denied(s); err != nil {
		return result{snapshot: s, source: SourceNone, err: err}
	}
	if s.enough(s.elapsed(c.Now()), beyond) {
		e.backoff, e.refreshAfter = 0, time.Time{}
	} else {
		e.backoff = min(max(2*e.backoff, minBackoff), maxBackoff)
		e.refreshAfter = c.Now().Add(e.backoff)
	}
	return c.settle(ctx, e, s, out, beyond, refreshErr)
}

// forgetAhead returns the generation that is too old: beyond, or none if beyond is
// above the row's. In that case the database was restored, so everything that this
// client knows by its generations is void, and the row's token is the right one.
func (c *Client) forgetAhead(e *entry, s *snapshot, beyond int64) int64 {
	if beyond <= s.token.Generation {
		return beyond
	}
	c.Log.Warn("the connection is behind the generation that was handed out: the database was restored", "connection_id", e.id, "generation", s.token.Generation, "handed_out", beyond)
	e.mend(0, time.Time{})
	e.backoff, e.refreshAfter = 0, time.Time{}
	return 0
}

// load reads the connection and keeps it in memory. If it returns no snapshot, err is
// the reason.
func (c *Client) load(ctx context.Context, e *entry) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, c.LoadTimeout)
	defer cancel()
	began := c.Now()
	if began.Before(e.loadAfter) {
		return nil, e.loadErr
	}
	held, err := c.Backend.Load(ctx, e.id)
	if err != nil {
		code := words.CodeOf(err) // a failure of one connection is not the backend's
		c.away.Store(code != words.CodeNotFound && code != words.CodeSealed)
		e.loadAfter, e.loadErr = c.Now().Add(awayRetry), err
		return nil, err
	}
	c.away.Store(false)
	offset := c.clock.saw(held.Now, began, c.Now(), c.Log)
	if c.Observer != nil {
		c.Observer.Clock(offset)
	}
	s := take(e.id, held, began, c.MinTTL)
	if denied(s) != nil {
		e.last.Store(nil) // memory must not answer for it
	} else {
		e.last.Store(s)
	}
	return s, nil
}

// refresh asks the backend for a newer token. why may be empty.
func (c *Client) refresh(ctx context.Context, e *entry, generation int64, why RefusalCause) error {
	ctx, cancel := context.WithTimeout(ctx, c.RefreshTimeout)
	defer cancel()
	var err error
	if r, ok := c.Backend.(Refuser); ok && why != "" {
		err = r.Refused(ctx, e.id, generation, why)
	} else {
		err = c.Backend.Refresh(ctx, e.id, generation)
	}
	if err != nil {
		c.Log.Warn("no newer access token", "connection_id", e.id, "generation", generation, "error", err)
	}
	return err
}

// unread returns the result if the connection could not be loaded: the token in memory,
// until that expires.
func (c *Client) unread(e *entry, beyond int64, err error) result {
	if words.CodeOf(err) == words.CodeNotFound {
		e.last.Store(nil)
		c.drop(e.id, e)
		return result{source: SourceNone, err: &ErrNotFound{Connection: e.id}}
	}
	now := c.Now()
	s := e.last.Load()
	if s != nil && s.usable(s.elapsed(now), beyond) {
		return result{snapshot: s, source: SourceRemaining}
	}
	return result{snapshot: s, source: SourceNone, err: &ErrUnavailable{Connection: e.id, RetryAt: now.Add(awayRetry).Round(0), Err: err}}
}

// denied returns the error for a connection whose status allows no use, or nil.
func denied(s *snapshot) error {
	switch s.state.Status {
	case words.StatusPaused:
		return &ErrPaused{Connection: s.token.Connection}
	case words.StatusDisconnected:
		return &ErrNotFound{Connection: s.token.Connection, Disconnected: true}
	}
	return nil
}

// settle returns the snapshot's token if it is usable, else the reason why there is
// none.
func (c *Client) settle(ctx context.Context, e *entry, s *snapshot, out result, beyond int64, cause error) result {
	now := c.Now()
	out.snapshot = s
	if elapsed := s.elapsed(now); s.usable(elapsed, beyond) {
		if !s.enough(elapsed, beyond) {
			out.source = SourceRemaining
		}
		c.used(ctx, e, s, now)
		return out
	}
	out.source = SourceNone
	if s.state.Status == words.StatusReconnectRequired {
		out.err = &ErrReconnectRequired{Connection: e.id, Account: s.state.Account, Reason: s.state.Reason, Since: s.state.Since,
			Words:        words.Describe(s.state.Status, "", s.state.Reason, s.state.Title),
			ReconnectURL: s.state.ReconnectURL, HelpURL: s.state.HelpURL}
		return out
	}
	retry := s.here(s.state.RetryAt)
	if retry.Before(e.refreshAfter) {
		retry = e.refreshAfter
	}
	if least := now.Add(minBackoff); retry.Before(least) {
		retry = least
	}
	out.err = &ErrUnavailable{Connection: e.id, RetryAt: retry.Round(0), Code: s.state.FailingCode, Err: cause}
	return out
}

// mend records that the refresh after a 401 brought generation.
func (e *entry) mend(generation int64, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mended = mended{generation, now}
}

// mendedBy reports whether the refresh after a recent 401 brought generation.
func (e *entry) mendedBy(generation int64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return generation > 0 && e.mended.generation == generation && now.Sub(e.mended.at) < mendedLasts
}
