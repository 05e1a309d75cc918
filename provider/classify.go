package provider

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// CodeMalformed is the code of a success status whose body holds neither tokens
// nor an error.
const CodeMalformed = "malformed_reply"

// evidence is all that is known of one presentation.
type evidence struct {
	sent        bool  // a byte of the request may have left
	err         error // of the transport; nil when a reply was read whole
	transport   string
	status      int
	readable    bool // the body was a JSON object or a form
	accessToken bool
	code        string
	description string
}

// outcomeOfCode are the RFC 6749 section 5.2 codes.
var outcomeOfCode = map[string]perennial.Outcome{
	"invalid_grant":          perennial.OutcomeRevoked,
	"invalid_client":         perennial.OutcomeMisconfigured,
	"unauthorized_client":    perennial.OutcomeMisconfigured,
	"unsupported_grant_type": perennial.OutcomeMisconfigured,
	"invalid_scope":          perennial.OutcomeMisconfigured,
	"invalid_request":        perennial.OutcomeRejected,
}

// classify is the one function that says what a presentation came to, and under
// which code. Unless it is proven that the refresh token was not spent, what is
// not a definite answer is unknown.
func classify(e Entry, ev evidence) (perennial.Outcome, string) {
	code := ev.code
	fallback := func(own string) string {
		if code != "" {
			return code
		}
		return own
	}
	switch {
	case ev.err != nil && !ev.sent:
		return perennial.OutcomeUnavailable, ev.transport
	case ev.err != nil:
		return perennial.OutcomeUnknown, ev.transport
	case ev.status >= 200 && ev.status < 300 && ev.accessToken:
		return perennial.OutcomeRefreshed, ""
	}
	for _, s := range e.Spellings {
		if s.matches(ev) {
			return s.Outcome, fallback("http_" + strconv.Itoa(ev.status))
		}
	}
	if ev.status == http.StatusTooManyRequests {
		return perennial.OutcomeRateLimited, fallback("too_many_requests")
	}
	if ev.status < 500 {
		if outcome, ok := outcomeOfCode[strings.ToLower(code)]; ok {
			return outcome, strings.ToLower(code)
		}
	}
	switch {
	case ev.status >= 500:
		return perennial.OutcomeUnknown, "http_" + strconv.Itoa(ev.status)
	case ev.status >= 300 && ev.status < 400:
		// Never followed: it would show the token to another host.
		return perennial.OutcomeMisconfigured, "redirected"
	case ev.status == http.StatusNotFound, ev.status == http.StatusMethodNotAllowed, ev.status == http.StatusGone:
		return perennial.OutcomeMisconfigured, fallback("endpoint_not_found")
	case ev.status >= 400:
		return perennial.OutcomeRejected, fallback("http_" + strconv.Itoa(ev.status))
	case ev.readable && code != "":
		return perennial.OutcomeRejected, code // an error in a 200
	default:
		return perennial.OutcomeUnknown, CodeMalformed
	}
}

func (s Spelling) matches(ev evidence) bool {
	anyStatus := s.HTTPStatus == 0 && ev.status < 500 && ev.status != http.StatusTooManyRequests
	return (anyStatus || s.HTTPStatus == ev.status) &&
		(s.Code == "" || strings.EqualFold(s.Code, ev.code)) &&
		(s.Contains == "" || strings.Contains(strings.ToLower(ev.description), strings.ToLower(s.Contains)))
}
