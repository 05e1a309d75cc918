package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/guard"
	"github.com/perennial-oauth/perennial/internal/printable"
)

const (
	// maxBody bounds a request's body; a token reply with a JWT or two is far below.
	maxBody = 256 << 10
	// answerTimeout bounds a request: even if the database accepts connections and says
	// nothing, every caller gets an answer. A request that changes something goes on if
	// its caller leaves: what has arrived is executed.
	answerTimeout = 30 * time.Second
	readTimeout   = 10 * time.Second
)

// call is one request on its way through the handlers.
type call struct {
	requestID      string
	operation      string
	key            perennial.APIKey
	access         perennial.Access
	idempotencyKey string
	fingerprint    string
	success        int // the status of a success
	header         http.Header
	problem        *Problem
}

type callKey struct{}

// callOf returns the call that ctx belongs to.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		c = &call{header: http.Header{}}
	}
	return c
}

// failed records the problem that a request ends with.
func (c *call) failed(p *Problem) {
	p.RequestID = c.requestID
	c.problem = p
}

// recorder records the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ServeHTTP implements [http.Handler].
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := a.Now()
	c := &call{requestID: uuid.NewString(), header: w.Header()}
	// The answers belong to one tenant, so no cache in between may keep them.
	for name, value := range map[string]string{"X-Request-Id": c.requestID, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		w.Header().Set(name, value)
	}
	answer := &recorder{ResponseWriter: w}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.Log.Error("a request panicked", "request_id", c.requestID, "operation", c.operation, "stack", string(debug.Stack()))
			if answer.status == 0 {
				a.refuse(answer, c, problem(perennial.CodeInternal, "Something went wrong here; the server's log has this request."))
			}
		}
		a.done(c, answer.status, a.Now().Sub(began))
	}()
	if !usable(r.URL) {
		a.refuse(answer, c, problem(perennial.CodeInvalid, "The path or the query is not readable text."))
		return
	}
	if h, pattern := a.mux.Handler(r); pattern == "" {
		a.refuse(answer, c, unrouted(h, r))
		return
	}
	a.mux.ServeHTTP(answer, r)
}

// unrouted returns the problem for a request that matches no operation. h is what
// net/http would do.
func unrouted(h http.Handler, r *http.Request) *Problem {
	probe := &header{http.Header{}, 0}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		return problem(codeMethod, "This path is there, but not with this method.").header("Allow", probe.h.Get("Allow"))
	}
	return problem(perennial.CodeNotFound, "There is nothing at this path; %s describes what there is.", DocumentPath)
}

// header is a response writer that keeps only the header.
type header struct {
	h      http.Header
	status int
}

func (h *header) Header() http.Header         { return h.h }
func (h *header) WriteHeader(status int)      { h.status = status }
func (h *header) Write(b []byte) (int, error) { return len(b), nil }

// refuse answers with a problem outside of any operation.
func (a *API) refuse(w http.ResponseWriter, c *call, p *Problem) {
	c.failed(p)
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // if the caller does not read it, it has left
}

// done logs and counts a request, without the path: a caller may have put a token
// there.
func (a *API) done(c *call, status int, took time.Duration) {
	level, code := slog.LevelDebug, ""
	attributes := []slog.Attr{slog.String("request_id", c.requestID), slog.String("operation", c.operation), slog.Int("status", status), slog.Duration("took", took),
		slog.String("api_key", c.key.ID), slog.String("tenant_id", c.tenant())}
	if p := c.problem; p != nil {
		code = string(p.Code)
		attributes = append(attributes, slog.String("code", code))
		if p.Status >= http.StatusInternalServerError && p.cause != nil {
			level = slog.LevelError
			attributes = append(attributes, slog.String("error", p.cause.Error()))
		}
	}
	a.Log.LogAttrs(context.Background(), level, "request", attributes...)
	if a.Observer != nil {
		a.Observer.Request(c.operation, status, code, took)
	}
}

// admit passes a request on to its operation if key, scope, rate and body allow it.
func (a *API) admit(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	c := callOf(r.Context())
	op := ctx.Operation()
	c.operation, c.success = op.OperationID, op.DefaultStatus
	presented, p := bearer(r)
	if p == nil {
		p = a.authenticate(r, c, op, presented)
	}
	if p == nil {
		p = a.readBody(w, r, c, op, presented)
	}
	if p != nil {
		a.refuse(w, c, p)
		return
	}
	next(ctx)
}

// authenticate finds the tenant of a request by its key (RFC 6750).
func (a *API) authenticate(r *http.Request, c *call, op *huma.Operation, presented string) *Problem {
	try := a.failures.Try(guard.Client(r.RemoteAddr), a.Now())
	key, ok, err := a.keys.verify(r.Context(), presented, try.Reserve)
	switch {
	case err != nil:
		try.Release()
		return problemOf(err)
	case !ok:
		return a.failed(try)
	}
	try.Release()
	c.key = key
	if wanted := scopesOf(op); !key.Allows(wanted...) {
		var names []string
		for _, s := range wanted {
			names = append(names, string(s))
		}
		return problem(wire.CodeScope, "The API key has none of the scopes that allow this: %s.", strings.Join(names, ", ")).
			header("WWW-Authenticate", challenge(fmt.Sprintf(`error="insufficient_scope", scope=%q`, strings.Join(names, " "))))
	}
	if p := c.resolve(r, op); p != nil {
		return p
	}
	if wait, ok := a.limits.take(key.ID, a.Now()); !ok {
		return problem(codeRateLimited, "The API key is over its %g requests a second.", a.Rate).retryAfter(wait)
	}
	return nil
}

// failed returns the problem for an invalid key.
func (a *API) failed(try *guard.Try) *Problem {
	wait, tell, ok := try.Failed()
	if tell {
		a.Log.Warn("many API keys that are not valid", "address", try.From.String())
	}
	if !ok {
		return problem(codeRateLimited, "The API key is not valid, and more than %d a minute came from this address.", a.Failures).retryAfter(wait)
	}
	return unauthorized("The API key is not valid.", `error="invalid_token", error_description="unknown or revoked"`)
}

// bearer returns the API key of a request.
func bearer(r *http.Request) (string, *Problem) {
	given := r.Header.Values("Authorization")
	if len(given) == 0 {
		return "", unauthorized("Give an API key: Authorization: Bearer pk_...", "")
	}
	scheme, key, ok := strings.Cut(given[0], " ")
	if !ok || len(given) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized("Give one API key: Authorization: Bearer pk_...", `error="invalid_request"`)
	}
	return strings.TrimSpace(key), nil
}

func unauthorized(detail, parameters string) *Problem {
	return problem(wire.CodeUnauthorized, "%s", detail).header("WWW-Authenticate", challenge(parameters))
}

func challenge(parameters string) string {
	if parameters == "" {
		return `Bearer realm="perennial"`
	}
	return `Bearer realm="perennial", ` + parameters
}

// readBody reads the whole body, within its bound, before anything else happens.
func (a *API) readBody(w http.ResponseWriter, r *http.Request, c *call, op *huma.Operation, presented string) *Problem {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTimeout)) // a test's writer has no deadline
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		// net/http goes on reading while a request is answered, to notice that the
		// caller leaves. A deadline that passes then would end the context of this
		// request, and of every later one on its connection.
		_ = control.SetReadDeadline(time.Time{})
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return problem(codeTooLarge, "The body is longer than %d bytes.", maxBody)
	}
	if err != nil {
		return problem(codeTimeout, "The body did not arrive as a whole.").header("Connection", "close")
	}
	if hasNUL(body) {
		return problem(perennial.CodeInvalid, `The body has the character \u0000, which no text of ours may hold.`)
	}
	if op.RequestBody != nil {
		if p := a.checkJSON(body); p != nil {
			return p
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	given := r.Header.Values("Idempotency-Key")
	if len(given) == 0 || !writes(op) {
		return nil
	}
	if len(given) > 1 || !idempotencyKey.MatchString(given[0]) {
		return problem(perennial.CodeInvalid, "The Idempotency-Key must be one of 1 to 255 visible ASCII characters.")
	}
	c.idempotencyKey, c.fingerprint = given[0], fingerprint(presented, r.Method, r.URL.RequestURI(), body)
	return nil
}

var errNUL = errors.New("the character NUL")

// hasNUL finds the character that PostgreSQL's text cannot hold.
func hasNUL(text []byte) bool {
	return bytes.Contains(text, []byte(`\u0000`)) || bytes.IndexByte(text, 0) >= 0
}

// usable reports whether a URL is text without control or invisible characters and
// without repeated parameters.
func usable(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || !printable.Is(u.Path) {
		return false
	}
	for name, values := range query {
		if !printable.Is(name) || len(values) > 1 || !printable.Is(values[0]) {
			return false
		}
	}
	return true
}
