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
	basic       bool // WWW-Authenticate asks for Basic
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

// wrongClient are the codes, in lower case, that name the client's id or secret as
// wrong: nothing else of the request was looked at.
var wrongClient = map[string]bool{
	"invalid_client":               true, // RFC 6749 section 5.2
	"invalid_client_id":            true, // Slack
	"invalid_client_secret":        true, // Zoho
	"invalid_client_credentials":   true,
	"bad_client_id":                true, // HubSpot
	"bad_client_secret":            true, // HubSpot, Slack
	"incorrect_client_credentials": true, // GitHub
}

// ClientRejected reports whether another client secret may be accepted: the
// provider called the client wrong, or answered 401 for a reason that is not known.
// RFC 6749 section 5.2 has 401 for a wrong client alone. The refresh token or the
// code counts as not spent; where the 401 had another reason, it would be shown
// again in the same way at the next attempt.
func (r Reply) ClientRejected() bool {
	switch r.Outcome {
	case perennial.OutcomeMisconfigured:
		return wrongClient[strings.ToLower(r.Code)]
	case perennial.OutcomeRejected:
		return r.HTTPStatus == http.StatusUnauthorized
	}
	return false
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
		if wrongClient[strings.ToLower(code)] {
			return perennial.OutcomeMisconfigured, code
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
	case ev.status == http.StatusUnauthorized && code == "" && ev.basic:
		return perennial.OutcomeMisconfigured, "invalid_client" // RFC 6749 section 5.2, without its words
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
