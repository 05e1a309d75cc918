package client

import (
	"context"
	"time"
)

// CodeNotAcceptedYet is the code of an [ErrUnavailable] if an API answered 401 to a token
// that is only seconds old. Many APIs know a new token only a moment later.
const CodeNotAcceptedYet = "token_not_accepted_yet"

const (
	// youngAge is how old a token is when every API knows it.
	youngAge = 5 * time.Second
	// youngWait is the wait before a young token is shown once more to the API that
	// refused it.
	youngWait = time.Second
)

// young reports whether the token may be so new that an API does not know it yet. Its age
// is by the backend's clock; a token of unknown age is not young.
func (c *Client) young(token Token) bool {
	s := c.entryOf(token.Connection).last.Load()
	if s == nil || s.token.Generation != token.Generation || s.state.RefreshedAt.IsZero() {
		return false
	}
	return s.state.Now.Sub(s.state.RefreshedAt)+s.elapsed(c.Now()) < youngAge
}

// pause waits, or returns the error of ctx if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
