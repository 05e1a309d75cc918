package client

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/client/words"
)

// Observer receives what a client does, for metrics; metrics.Client is the one for
// Prometheus. It must not block. Many goroutines call it at once.
type Observer interface {
	Call(Call)
	Refused(Refused)
	// Clock receives how far this process's clock is behind the backend's.
	Clock(offset time.Duration)
}

// Source says where a token came from.
type Source string

// The sources.
const (
	SourceMemory    Source = "memory"
	SourceStore     Source = "store"   // loaded
	SourceRefresh   Source = "refresh" // a refresh, which the caller waited for
	SourceRemaining Source = "left"    // the rest of an old token's life, because there was no newer token
	SourceNone      Source = "none"    // an error
)

// Call is one call of [Client.Token].
type Call struct {
	App    string // empty if the connection could not be read
	Source Source
	// Left is the token's remaining life at the time of the call. If there was only an
	// expired token, it is negative and Source is none.
	Left   time.Duration
	Dated  bool          // Left is known
	Waited time.Duration // time spent on the store and on a refresh
	// Queued is how long ago the work was enqueued, see [WithEnqueuedAt]; 0: unknown.
	Queued time.Duration
	Code   words.Code // the error's code, or [CodeCallerGone]; empty: no error
}

// CodeCallerGone is the code of a call whose context ended.
const CodeCallerGone words.Code = "left"

// Refused is one 401 from an API.
type Refused struct {
	App       string
	Means     resource.Unauthorized
	Second    bool // it refused a newer token too
	Stale     bool // the token had been replaced already, so nothing was refreshed
	Refreshed bool // this 401 caused a refresh
	Retried   bool // the request was sent again
}

type enqueuedKey struct{}

// WithEnqueuedAt records in ctx when its work was enqueued, so that the metrics show
// the queue delay. A job that carries its token may wait longer than the token lives:
// get the token when the job runs.
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

// observe reports one call. s may be nil.
func (c *Client) observe(ctx context.Context, now time.Time, s *snapshot, source Source, waited time.Duration, err error) {
	if c.Observer == nil {
		return
	}
	call := Call{Source: source, Waited: waited, Queued: queued(ctx, now), Code: words.CodeOf(err)}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) && words.CodeOf(err) == words.CodeInternal {
		call.Code = CodeCallerGone
	}
	if s != nil {
		call.App = s.state.App
		call.Left = s.state.Left(s.elapsed(now))
		// A failed call counts toward the token's age only if age was the failure.
		call.Dated = call.Left != wire.Forever && (err == nil || call.Left <= 0)
		if !call.Dated {
			call.Left = 0
		}
	}
	c.Observer.Call(call)
}
