package client

import (
	"errors"
	"net"
	"net/http"

	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/client/words"
)

// Transport is an [http.RoundTripper] that gives each request the connection's access
// token (RFC 6750 section 2.1). It reacts to a 401 once: it gets a newer token, and
// sends the same request again if that does no harm. If the API may not know the newer
// token yet, it waits a second and sends the request once more. docs/client.md has the table of
// what it sends again, and when.
//
// It refuses a request that already has an Authorization header. It follows a redirect
// to another host, or away from TLS, without the token. [Client.Transport] makes one.
// It is safe for concurrent use once its fields are set.
type Transport struct {
	// BeforeRetry, if set, decides before a request is sent again. It may check whether
	// the first request took effect, or compare a fingerprint. Its decision is final,
	// even for a request that the rules would not repeat. An error ends the request. It
	// is not called for a body that cannot be read again.
	BeforeRetry func(Retry) (bool, error)
	// Base sends the requests. Defaults to the client's.
	Base http.RoundTripper

	client *Client
	id     string
}

// Retry is what BeforeRetry decides about.
type Retry struct {
	Request    *http.Request // the caller's; read its body through GetBody
	Connection string
	Generation int64 // the new token's
	ByRule     bool  // the rules would repeat the request
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if redirectedAway(req) {
		return t.base().RoundTrip(req)
	}
	if err := t.refuses(req); err != nil {
		return nil, closing(req, err)
	}
	token, err := t.client.Token(req.Context(), t.id)
	if err != nil {
		return nil, closing(req, err)
	}
	resp, err := t.send(req, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized && !t.refusedOtherwise(resp, token) {
		return resp, err
	}
	return t.unauthorized(req, resp, token)
}

// refusedOtherwise reports whether an API that has a status of its own for it refuses the
// token. It does not if a refresh just before did not help: then the status means what it
// says.
func (t *Transport) refusedOtherwise(resp *http.Response, token Token) bool {
	_, entry := t.client.serverFor(t.id)
	return entry.RefusesBy(resp.StatusCode) && !t.client.entryOf(t.id).mendedBy(token.Generation, t.client.Now()) &&
		entry.RefusesToken(resp.StatusCode, peek(resp))
}

// CloseIdleConnections implements the method that http.Client looks for.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return t.client.Base
}

// refuses returns the error for a request that must not get a token.
func (t *Transport) refuses(req *http.Request) error {
	switch {
	case len(req.Header.Values("Authorization")) > 0:
		return words.Errorf(words.CodeInvalid, "connection %s: the request carries Authorization already; the client sets it", t.id)
	case req.URL.User != nil:
		return words.Errorf(words.CodeInvalid, "connection %s: the request's URL carries credentials", t.id)
	case req.URL.Scheme != "https" && !t.client.AllowHTTP && !loopback(req.URL.Hostname()):
		return words.Errorf(words.CodeInvalid, "connection %s: an access token travels over https only (to %s)", t.id, endpoint(req))
	}
	return nil
}

// send sends the request with the token. The response refers to the caller's request,
// not to the one with the token.
func (t *Transport) send(req *http.Request, token Token) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header.Set("Authorization", token.header())
	resp, err := t.base().RoundTrip(out)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// unauthorized reacts to a first 401, or to what stands for it.
func (t *Transport) unauthorized(req *http.Request, resp *http.Response, refused Token) (*http.Response, error) {
	c := t.client
	c.note(req.Context(), t.id, NoteUnauthorized)
	app, entry := c.serverFor(t.id)
	told := Refused{App: app, Means: resource.UnauthorizedToken}
	if resp.StatusCode == http.StatusUnauthorized {
		told.Means = entry.ReadUnauthorized(resp.Header, peek(resp))
	}
	defer func() { c.refused(told) }()
	if told.Means == resource.UnauthorizedNotPermitted {
		return resp, nil // no token would help
	}
	byRule := repeatable(req, entry)
	if !replayable(req) || !byRule && t.BeforeRetry == nil {
		c.renewLater(req.Context(), refused, &told)
		return resp, nil
	}
	got := c.fetch(req.Context(), t.id, refused.Generation)
	told.Stale, told.Refreshed = got.err == nil && got.source == SourceStore, got.refreshed
	if got.err != nil {
		_, away := errors.AsType[*ErrUnavailable](got.err)
		mended := away && c.mended(t.id, refused.Generation, got.snapshot) // a refresh just before did not help
		if mended && resp.StatusCode != http.StatusUnauthorized {
			return resp, nil // then the status means what it says
		}
		discard(resp)
		if mended {
			// A refresh just before did not help, or its token is not known yet.
			if t.BeforeRetry == nil && c.young(refused) && pause(req.Context(), youngWait) == nil {
				told.Retried = true
				return t.last(req, refused, app)
			}
			return nil, t.stillOrYoung(req, refused)
		}
		return nil, got.err
	}
	token := got.snapshot.token
	if t.BeforeRetry != nil {
		again, err := t.BeforeRetry(Retry{Request: req, Connection: t.id, Generation: token.Generation, ByRule: byRule})
		if err != nil {
			discard(resp)
			return nil, err
		}
		if !again {
			return resp, nil
		}
	}
	discard(resp)
	told.Retried = true
	return t.again(req, token, app)
}

// again sends the request with the newer token. If the API may not know that token yet,
// it sends the request once more after a short wait.
func (t *Transport) again(req *http.Request, token Token, app string) (*http.Response, error) {
	resp, err := t.resend(req, token)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && t.client.young(token) && pause(req.Context(), youngWait) == nil {
		discard(resp)
		return t.last(req, token, app)
	}
	return t.judged(req, resp, err, token, app)
}

// last sends the request for the last time.
func (t *Transport) last(req *http.Request, token Token, app string) (*http.Response, error) {
	resp, err := t.resend(req, token)
	return t.judged(req, resp, err, token, app)
}

// judged returns the answer to a newer token, or the error for a 401.
func (t *Transport) judged(req *http.Request, resp *http.Response, err error, token Token, app string) (*http.Response, error) {
	if err != nil {
		return resp, err
	}
	c := t.client
	if resp.StatusCode != http.StatusUnauthorized {
		if t.refusedOtherwise(resp, token) { // the status means what it says: it is the caller's
			c.entryOf(t.id).mend(token.Generation, c.Now())
		}
		return resp, nil
	}
	_, entry := c.serverFor(t.id)
	c.note(req.Context(), t.id, NoteUnauthorized)
	c.refused(Refused{App: app, Means: entry.ReadUnauthorized(resp.Header, peek(resp)), Second: true})
	c.entryOf(t.id).mend(token.Generation, c.Now())
	discard(resp)
	return nil, t.stillOrYoung(req, token)
}

// resend sends the request with its body from the start.
func (t *Transport) resend(req *http.Request, token Token) (*http.Response, error) {
	again, err := rewound(req)
	if err != nil {
		return nil, err
	}
	return t.send(again, token)
}

// stillOrYoung returns the error for a token that an API refused. A token that the API may
// not know yet is no sign of a wrong mapping.
func (t *Transport) stillOrYoung(req *http.Request, token Token) error {
	if c := t.client; c.young(token) {
		return &ErrUnavailable{Connection: t.id, RetryAt: c.Now().Add(youngAge).Round(0), Doing: "use its newest access token", Code: CodeNotAcceptedYet}
	}
	return t.still(req, token)
}

func (t *Transport) still(req *http.Request, token Token) error {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	return t.client.still(t.id, token, method, endpoint(req))
}

// still returns the error for a token that was refused although it is a newer one.
func (c *Client) still(id string, token Token, method, endpoint string) error {
	out := &ErrStillUnauthorized{Connection: id, Account: token.Account, Method: method, Endpoint: endpoint,
		Generation: token.Generation, ClockOffset: c.ClockOffset()}
	now := c.Now()
	if s := c.entryOf(id).last.Load(); s != nil && s.token.Generation == token.Generation && s.floored(now) {
		out.RetryAt, out.ForcedAgo = s.here(s.state.RetryAt), now.Sub(s.here(s.state.ForcedAt))
	}
	return out
}

// mended reports whether the refused token is from a refresh that a caller asked for just
// before: this client, or any other. s is the connection as it is now; it may be nil.
func (c *Client) mended(id string, refused int64, s *snapshot) bool {
	now := c.Now()
	return c.entryOf(id).mendedBy(refused, now) || s != nil && s.token.Generation == refused && s.floored(now)
}

// redirectedAway reports whether a redirect led to another host than the caller's, or
// away from TLS. It then also applies on the way back.
func redirectedAway(req *http.Request) bool {
	for r := req; r.Response != nil && r.Response.Request != nil; r = r.Response.Request {
		before := r.Response.Request
		if r.URL.Host != before.URL.Host || r.URL.Scheme != before.URL.Scheme && r.URL.Scheme != "https" {
			return true
		}
	}
	return false
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// endpoint returns the request's URL without user, query and fragment.
func endpoint(req *http.Request) string {
	return req.URL.Scheme + "://" + req.URL.Host + req.URL.EscapedPath()
}
