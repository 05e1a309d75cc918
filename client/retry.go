package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/perennial-oauth/perennial/client/resource"
)

// idempotent has the methods of RFC 9110 section 9.2.2; the empty one is GET.
var idempotent = []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete}

// repeatable reports whether sending the request twice has the same effect as once: an
// idempotent method, an idempotency key, or a POST that is known to be a read.
func repeatable(req *http.Request, api resource.Server) bool {
	return slices.Contains(idempotent, req.Method) ||
		req.Header.Get("Idempotency-Key") != "" || req.Header.Get("X-Idempotency-Key") != "" ||
		req.Method == http.MethodPost && api.ReadsOnly(req.URL.Path)
}

// replayable reports whether the body can be read a second time.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// rewound returns the request with its body from the start.
func rewound(req *http.Request) (*http.Request, error) {
	out := *req
	if req.Body != nil && req.Body != http.NoBody {
		body, err := req.GetBody()
		if err != nil {
			return nil, fmt.Errorf("read the request's body again: %w", err)
		}
		out.Body = body
	}
	return &out, nil
}

// maxPeeked bounds how much of a 401's body is read ahead of the caller, and how much
// of a discarded body, so that its connection can be used again.
const maxPeeked = 64 << 10

// peek reads the beginning of the body and puts it back.
func peek(resp *http.Response) []byte {
	if resp.Body == nil {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPeeked))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failing{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	return head
}

// failing is a reader that returns an error met earlier.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// discard reads the body to its end, within a bound, and closes it.
func discard(resp *http.Response) {
	if resp.Body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 2*maxPeeked) // a longer one costs the connection
	_ = resp.Body.Close()                               // everything was read; nothing is lost
}

// closing closes the body of a request that is not sent, as a RoundTripper must.
func closing(req *http.Request, err error) error {
	if req.Body != nil {
		err = errors.Join(err, req.Body.Close())
	}
	return err
}

// serverFor returns the API of a loaded connection's provider, and its app.
func (c *Client) serverFor(id string) (app string, of resource.Server) {
	if known, ok := c.entries.Load(id); ok {
		if s := known.(*entry).last.Load(); s != nil {
			if s.state.API != nil {
				return s.state.App, *s.state.API
			}
			return s.state.App, resource.Of(s.state.Provider)
		}
	}
	return "", of
}

// renewLater gets a newer token for the next request. This request is not sent again.
func (c *Client) renewLater(ctx context.Context, refused Token, told *Refused) {
	e := c.entryOf(refused.Connection)
	if e.mendedBy(refused.Generation, c.Now()) {
		return
	}
	e.mu.Lock()
	busy := e.flight != nil && e.flight.beyond >= refused.Generation
	e.mu.Unlock()
	if s := e.last.Load(); busy || s != nil && s.token.Generation > refused.Generation {
		told.Stale = !busy
		return
	}
	told.Refreshed = true
	ctx = context.WithoutCancel(ctx)
	c.work.Go(func() { c.fetch(ctx, refused.Connection, refused.Generation) })
}

func (c *Client) refused(r Refused) {
	if c.Observer != nil {
		c.Observer.Refused(r)
	}
}
