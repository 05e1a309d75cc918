package provider

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// CodeMalformed is the code for a success status whose body has neither tokens nor an
// error.
const CodeMalformed = "malformed_reply"

// evidence is everything known about one presentation.
type evidence struct {
	sent        bool  // a byte of the request may have left
	err         error // of the transport; nil if a whole reply was read
	transport   string
	status      int
	readable    bool // the body was a JSON object or a form
	accessToken bool
	code        string
	description string
	basic       bool // WWW-Authenticate asks for Basic
}

// evidence returns the evidence in a reply that arrived whole, but for its token.
func (r tokenReply) evidence(status int, header http.Header, secrets ...perennial.Secret) evidence {
	return evidence{sent: true, status: status, readable: r.readable, code: codeOf(r.code, secrets...), description: r.description, basic: asksForBasic(header)}
}

// outcomeOfCode has the codes of RFC 6749 section 5.2.
var outcomeOfCode = map[string]perennial.Outcome{
	"invalid_grant":          perennial.OutcomeRevoked,
	"invalid_client":         perennial.OutcomeMisconfigured,
	"unauthorized_client":    perennial.OutcomeMisconfigured,
	"unsupported_grant_type": perennial.OutcomeMisconfigured,
	"invalid_scope":          perennial.OutcomeMisconfigured,
	"invalid_request":        perennial.OutcomeRejected,
}

// wrongClient has the codes, in lower case, that reject the client's id or secret: the
// provider looked at nothing else of the request.
var wrongClient = map[string]bool{
	"invalid_client":               true, // RFC 6749 section 5.2
	"invalid_client_id":            true, // Slack
	"invalid_client_secret":        true, // Zoho
	"invalid_client_credentials":   true,
	"bad_client_id":                true, // HubSpot
	"bad_client_secret":            true, // HubSpot, Slack
	"incorrect_client_credentials": true, // GitHub
}

// ClientRejected reports whether another client secret may be accepted: the provider
// rejected the client, or answered 401 for an unknown reason. RFC 6749 section 5.2 uses
// 401 only for a wrong client. The refresh token or code counts as not spent. If the
// 401 had another reason, the next attempt would present it in the same way anyway.
func (r Reply) ClientRejected() bool {
	switch r.Outcome {
	case perennial.OutcomeMisconfigured:
		return wrongClient[strings.ToLower(r.Code)]
	case perennial.OutcomeRejected:
		return r.HTTPStatus == http.StatusUnauthorized
	}
	return false
}

// classify is the only function that decides the outcome of a presentation, and its
// code. Anything but a definite answer is unknown, unless it is proven that the refresh
// token was not spent.
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
		// Never follow it: that would send the token to another host.
		return perennial.OutcomeMisconfigured, "redirected"
	case ev.status == http.StatusNotFound, ev.status == http.StatusMethodNotAllowed, ev.status == http.StatusGone:
		return perennial.OutcomeMisconfigured, fallback("endpoint_not_found")
	case ev.status == http.StatusUnauthorized && code == "" && ev.basic:
		return perennial.OutcomeMisconfigured, "invalid_client" // as in RFC 6749 section 5.2, but without its code
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
