package client

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/provider"
)

// Observer is told of what a client does, for metrics; metrics.Client is the one
// for Prometheus. It must not block, and is called by many goroutines at once.
type Observer interface {
	Call(Call)
	Refused(Refused)
	// Clock tells by how much this process's clock is behind the backend's.
	Clock(offset time.Duration)
}

// Source says where a token came from.
type Source string

// The sources.
const (
	SourceMemory     Source = "memory"
	SourceStore      Source = "store"   // loaded
	SourceRefresh    Source = "refresh" // a refresh was waited for
	SourceCallerGone Source = "left"    // too old, and nothing newer to be had: what is left serves
	SourceNone       Source = "none"    // an error
)

// Call is one call of [Client.Token].
type Call struct {
	App    string // empty where the connection could not be read
	Source Source
	// Left is the life that the token has left as the call goes ahead. Where there
	// was only an expired one it is below zero, and Source is none.
	Left   time.Duration
	Dated  bool          // Left is known
	Waited time.Duration // for the store and for a refresh
	// Queued is how long ago the work was enqueued, see [WithEnqueuedAt]; 0: not
	// said.
	Queued time.Duration
	Code   perennial.Code // of the error, or [CodeLeft]; empty: none
}

// CodeLeft is the code of a call whose caller's context ended.
const CodeCallerGone perennial.Code = "left"

// Refused is one 401 that an API answered.
type Refused struct {
	App       string
	Means     provider.Unauthorized
	Second    bool // a newer token was refused too
	Stale     bool // the token had been replaced already: nothing was refreshed
	Refreshed bool // this 401 caused a refresh
	Retried   bool // the request was sent again
}

type enqueuedKey struct{}

// WithEnqueuedAt says when the work that ctx is for was enqueued, so that queue
// delay shows in the metrics: a job that carries its token waits longer than the
// token lives. Ask for the token when the job runs.
func WithEnqueuedAt(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, enqueuedKey{}, at)
}

func queued(ctx context.Context, now time.Time) time.Duration {
	at, ok := ctx.Value(enqueuedKey{}).(time.Time)
	if !ok {
		return 0
	}
	return max(now.Sub(at), 0)
}

// observe tells of one call. s may be nil.
func (c *Client) observe(ctx context.Context, now time.Time, s *snapshot, source Source, waited time.Duration, err error) {
	if c.Observer == nil {
		return
	}
	call := Call{Source: source, Waited: waited, Queued: queued(ctx, now), Code: perennial.CodeOf(err)}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && perennial.CodeOf(err) == perennial.CodeInternal {
		call.Code = CodeCallerGone
	}
	if s != nil {
		call.App = s.state.App
		call.Left = s.state.Left(s.elapsed(now))
		// A failed call counts by its token's age only where that is what failed.
		call.Dated = call.Left != wire.Forever && (err == nil || call.Left <= 0)
		if !call.Dated {
			call.Left = 0
		}
	}
	c.Observer.Call(call)
}
