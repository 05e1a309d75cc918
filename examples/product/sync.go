package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
)

// The limits of one write, and of the pause before its retry.
const (
	writeTimeout = 45 * time.Second // includes a wait of up to 30 s for a token
	firstPause   = time.Second
	maxPause     = 5 * time.Minute
)

// syncAll looks for due syncs this often, in addition to being woken.
const lookEvery = time.Second

// syncAll writes the due syncs until ctx ends. One after the other is enough here; you
// would use a queue, and nothing below would change.
func (p *product) syncAll(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for {
			o, found, err := p.store.due(ctx)
			if err == nil && found {
				err = p.sync(ctx, o)
			}
			if err != nil && ctx.Err() == nil {
				log.Printf("sync: %v", err)
			}
			if err != nil || !found {
				break
			}
		}
		select {
		case <-tick.C:
		case <-p.wake:
		case <-ctx.Done():
			return
		}
	}
}

// soon wakes syncAll.
func (p *product) soon() {
	select {
	case p.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

// errNoAnswer means that it is unknown whether the order was written.
var errNoAnswer = errors.New("no usable answer")

// errRefused means that the provider will never accept the order as it is.
var errRefused = errors.New("refused")

// sync tries one order and records the result. It returns an error if recording failed:
// then the order is tried once more, which its key makes harmless.
func (p *product) sync(ctx context.Context, o order) error {
	began := time.Now()
	err := p.write(ctx, o)
	if ctx.Err() != nil {
		return ctx.Err() // the program ends; the sync is due at the next start
	}
	var reconnect *client.ErrReconnectRequired
	var later *client.ErrUnavailable
	var paused *client.ErrPaused
	var gone *client.ErrNotFound
	switch {
	case err == nil:
		return p.store.end(ctx, o.ID, stateDone, "")
	case errors.As(err, &reconnect):
		return p.store.putAside(ctx, o.Connection, reconnect.Words.String(), began)
	case errors.As(err, &later):
		return p.store.postpone(ctx, o.Connection, latest(later.RetryAt, time.Now().Add(firstPause)), "The connection is being renewed", began)
	case errors.As(err, &paused), errors.As(err, &gone):
		return p.store.putAside(ctx, o.Connection, "The connection is paused or disconnected", began)
	case errors.Is(err, errNoAnswer):
		return p.store.later(ctx, o.ID, time.Now().Add(min(firstPause<<min(o.Tries, 20), maxPause)), "No answer came")
	case errors.Is(err, errRefused):
		return p.store.end(ctx, o.ID, stateRefused, "The order was not accepted")
	}
	log.Printf("sync %d: %v", o.ID, err) // ErrStillUnauthorized: our mapping or the permissions are wrong
	return p.store.end(ctx, o.ID, stateRefused, "The account does not take it")
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// write sends one order to the provider's API. The key makes it safe to send the order
// again, for us and for the client: after a 401 the client has the token refreshed and
// sends the order once more.
func (p *product) write(ctx context.Context, o order) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.orders, strings.NewReader(fmt.Sprintf(`{"order": %d}`, o.ID)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", o.Key)
	resp, err := p.tokens.HTTPClient(o.Connection).Do(req)
	if err != nil {
		if _, ok := errors.AsType[*perennial.Error](err); ok {
			return err // from the client: it had no token and sent nothing
		}
		return fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // lets the transport reuse the network connection
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return fmt.Errorf("%w: HTTP status %d", errNoAnswer, resp.StatusCode)
	}
	return fmt.Errorf("%w: HTTP status %d", errRefused, resp.StatusCode)
}
