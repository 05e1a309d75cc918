package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/perennial-oauth/perennial/store"
)

// Problem is an error of the API, with the parts that its answer does not show.
type Problem struct {
	wire.Problem
	headers http.Header
	cause   error
}

// The codes that only the API has; the others are [perennial.Code]'s.
const (
	codeRateLimited       perennial.Code = "rate_limited"
	codeMethod            perennial.Code = "method_not_allowed"
	codeTooLarge          perennial.Code = "too_large"
	codeMediaType         perennial.Code = "unsupported_media_type"
	codeTimeout           perennial.Code = "timeout"
	codeStillRefused      perennial.Code = "still_unauthorized"
	codeKeyReused         perennial.Code = "idempotency_key_reused"
	codeInProgress        perennial.Code = "idempotency_in_progress"
	codeOutcomeUnknown    perennial.Code = "outcome_unknown"
	codeNotAcceptable     perennial.Code = "not_acceptable"
	codeTenant            perennial.Code = "tenant_required"
	retryAfterConflict                   = time.Second
	retryAfterUnavailable                = 5 * time.Second
)

// statuses maps every code to its HTTP status.
var statuses = map[perennial.Code]int{
	perennial.CodeInvalid:           http.StatusUnprocessableEntity,
	perennial.CodeNotFound:          http.StatusNotFound,
	perennial.CodeConflict:          http.StatusConflict,
	perennial.CodeAccountMismatch:   http.StatusConflict,
	perennial.CodeReconnectRequired: http.StatusConflict,
	perennial.CodeOtherUser:         http.StatusForbidden,
	perennial.CodePaused:            http.StatusConflict,
	perennial.CodeDisconnected:      http.StatusConflict,
	perennial.CodeGenerationAhead:   http.StatusConflict,
	perennial.CodeUnavailable:       http.StatusServiceUnavailable,
	perennial.CodeSchema:            http.StatusServiceUnavailable,
	perennial.CodeSealed:            http.StatusInternalServerError,
	perennial.CodeInternal:          http.StatusInternalServerError,
	wire.CodeUnauthorized:           http.StatusUnauthorized,
	wire.CodeScope:                  http.StatusForbidden,
	codeRateLimited:                 http.StatusTooManyRequests,
	codeMethod:                      http.StatusMethodNotAllowed,
	codeTooLarge:                    http.StatusRequestEntityTooLarge,
	codeMediaType:                   http.StatusUnsupportedMediaType,
	codeTimeout:                     http.StatusRequestTimeout,
	codeStillRefused:                http.StatusConflict,
	codeKeyReused:                   http.StatusUnprocessableEntity,
	codeInProgress:                  http.StatusConflict,
	codeOutcomeUnknown:              http.StatusConflict,
	codeNotAcceptable:               http.StatusNotAcceptable,
	codeTenant:                      http.StatusBadRequest,
}

// ProblemStatuses returns the HTTP status of each code that an error of the API may have.
func ProblemStatuses() map[perennial.Code]int { return maps.Clone(statuses) }

// problem makes a problem with a code of that table.
func problem(code perennial.Code, format string, args ...any) *Problem {
	status := statuses[code]
	return &Problem{Problem: wire.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}}
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// Unwrap returns the cause, which is never in the answer.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements [huma.HeadersError].
func (p *Problem) GetHeaders() http.Header { return p.headers }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

func (p *Problem) header(name, value string) *Problem {
	if p.headers == nil {
		p.headers = http.Header{}
	}
	p.headers.Set(name, value)
	return p
}

// retryAfter sets Retry-After in whole seconds (RFC 9110 section 10.2.3), at least one.
func (p *Problem) retryAfter(d time.Duration) *Problem {
	return p.header("Retry-After", strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))))
}

func (p *Problem) because(err error) *Problem { p.cause = err; return p }

// noConnection is the problem for a missing connection and for another tenant's.
func noConnection() *Problem {
	return problem(perennial.CodeNotFound, "There is no such connection.")
}

// problemOf returns the problem for an error of the packages below. It shows their
// message only if it is about the request.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if ahead, ok := errors.AsType[*perennial.GenerationAheadError](err); ok {
		return problem(perennial.CodeGenerationAhead, "The connection is at generation %d, and if_generation is above it: forget that token and its generation, and get the current one.", ahead.Generation).because(err)
	}
	if _, ok := errors.AsType[*store.TokenInUseError](err); ok {
		return problem(perennial.CodeConflict, "The refresh token is in use by another connection already, and only one of them could renew it. Let the customer consent again, for a grant of its own, or disconnect the other connection first.").because(err)
	}
	switch code := perennial.CodeOf(err); code {
	case perennial.CodeNotFound:
		return noConnection().because(err)
	case perennial.CodeInvalid, perennial.CodeOtherUser:
		return problem(code, "%s.", strings.TrimSuffix(messageOf(err), ".")).because(err)
	case perennial.CodeConflict:
		return problem(code, "The connection is in another state than this needs, or was changed at this moment: read it, and decide again.").retryAfter(retryAfterConflict).because(err)
	case perennial.CodeAccountMismatch:
		return problem(code, "The tokens are of another account than the connection's: nothing was changed. Reconnect with the first account, or connect the second one as a new connection.").because(err)
	case perennial.CodeReconnectRequired, perennial.CodePaused, perennial.CodeDisconnected:
		return problem(code, "The connection is %s.", strings.ReplaceAll(string(code), "_", " ")).because(err)
	case perennial.CodeUnavailable, perennial.CodeSchema:
		return unavailable(err)
	}
	if outOfReach(err) {
		return unavailable(err)
	}
	return problem(perennial.CodeInternal, "Something went wrong here; the server's log has this request.").because(err)
}

func unavailable(err error) *Problem {
	return problem(perennial.CodeUnavailable, "This cannot be done at present: try again.").retryAfter(retryAfterUnavailable).because(err)
}

// messageOf returns the message of the first of our own errors.
func messageOf(err error) string {
	if e, ok := errors.AsType[*perennial.Error](err); ok {
		return e.Message
	}
	return "the request is not usable"
}

// outOfReach reports whether a server behind us did not answer, or the caller left.
func outOfReach(err error) bool {
	return unreachable.Is(err) || errors.Is(err, context.Canceled)
}

// fromHuma turns the library's error about a request into our problem. The library
// repeats the offending value, which may be a token; our problem does not.
func (a *API) fromHuma(m *huma.ErrorModel) *Problem {
	code, ok := map[int]perennial.Code{
		http.StatusRequestEntityTooLarge: codeTooLarge,
		http.StatusUnsupportedMediaType:  codeMediaType,
		http.StatusRequestTimeout:        codeTimeout,
		http.StatusNotAcceptable:         codeNotAcceptable,
	}[m.Status]
	switch {
	case ok:
	case m.Status >= http.StatusInternalServerError:
		code = perennial.CodeInternal
	default:
		code = perennial.CodeInvalid
	}
	p := &Problem{Problem: wire.Problem{Title: http.StatusText(m.Status), Status: m.Status, Code: code, Detail: "The request is not as the OpenAPI document describes it."}}
	for _, e := range m.Errors {
		i := wire.Invalid{Location: a.location(e.Location), Message: e.Message}
		if m.Status == http.StatusBadRequest || !plainMessage.MatchString(e.Message) {
			i.Message = "is not readable" // the parser's words may repeat its input
		}
		p.Errors = append(p.Errors, i)
	}
	return p
}

// plainMessage matches the library's own messages that name a rule. Messages of Go's
// JSON parser begin otherwise.
var plainMessage = regexp.MustCompile(`^(expected|unexpected|required|invalid|unknown query parameter|validation failed)`)

var index = regexp.MustCompile(`\[\d+\]`)

// location keeps the names of a field's path that the document has: a caller may have
// put a token in place of a name.
func (a *API) location(path string) string {
	var out []string
	for name := range strings.SplitSeq(path, ".") {
		if !a.names[index.ReplaceAllString(name, "")] {
			break
		}
		out = append(out, name)
	}
	return strings.Join(out, ".")
}
