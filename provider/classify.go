package provider

import (
	"net/http"
	"slices"
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
	code        string   // the error code, fit for people
	codes       []string // all that may be error codes, as they were sent
	text        string   // all that is said about the error, as it was sent
	basic       bool     // WWW-Authenticate asks for Basic
	certificate bool     // TLS failed because of the client's certificate
}

// evidence returns the evidence in a reply that arrived whole, but for its token.
func (r tokenReply) evidence(status int, header http.Header, secrets ...perennial.Secret) evidence {
	return evidence{sent: true, status: status, readable: r.readable, code: codeOf(r.refusal.code, secrets...), codes: r.refusal.codes,
		text: strings.Join(r.refusal.texts, "\n"), basic: asksForBasic(header)}
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

// wrongClientByKey has them by their [squeeze].
var wrongClientByKey = func() map[string]bool {
	byKey := make(map[string]bool, len(wrongClient))
	for code := range wrongClient {
		byKey[squeeze(code)] = true
	}
	return byKey
}()

// ClientRejected reports whether another client secret may be accepted: the provider
// rejected the client, or answered 401 for an unknown reason. RFC 6749 section 5.2 uses
// 401 only for a wrong client. The refresh token or code counts as not spent. If the
// 401 had another reason, the next attempt would present it in the same way anyway.
func (r Reply) ClientRejected() bool {
	switch r.Outcome {
	case perennial.OutcomeMisconfigured:
		return r.wrongClient || wrongClientByKey[squeeze(r.Code)]
	case perennial.OutcomeRejected:
		return r.HTTPStatus == http.StatusUnauthorized
	}
	return false
}

// verdict is what one presentation came to.
type verdict struct {
	outcome perennial.Outcome
	code    string
	fault   perennial.Fault
	// wrongClient: the provider rejected the client's id or secret.
	wrongClient bool
	// unclear: the provider refused, and did not say in words that we know whether the
	// grant, the client or the request is at fault.
	unclear bool
}

// classify is the only function that decides the outcome of a presentation, its code,
// and whose fault it is. Anything but a definite answer is unknown, unless it is proven
// that the refresh token was not spent.
func classify(e Entry, ev evidence) verdict {
	v := outcomeOf(e, ev)
	if v.fault == "" {
		v.fault = faultOf(v.outcome, v.code)
	}
	return v
}

func outcomeOf(e Entry, ev evidence) verdict {
	switch {
	case ev.err != nil && ev.certificate:
		return verdict{outcome: perennial.OutcomeMisconfigured, code: "client_certificate_refused", fault: perennial.FaultClient, wrongClient: true}
	case ev.err != nil && !ev.sent:
		return verdict{outcome: perennial.OutcomeUnavailable, code: ev.transport}
	case ev.err != nil:
		return verdict{outcome: perennial.OutcomeUnknown, code: ev.transport}
	case ev.status >= 200 && ev.status < 300 && ev.accessToken:
		return verdict{outcome: perennial.OutcomeRefreshed}
	}
	for _, s := range e.Spellings {
		if s.matches(ev) {
			return s.verdict(ev)
		}
	}
	if ev.status == http.StatusTooManyRequests {
		return verdict{outcome: perennial.OutcomeRateLimited, code: ev.codeOr("too_many_requests")}
	}
	if ev.status < 500 {
		if v, ok := ev.standard(); ok {
			return v
		}
	}
	return ev.byStatus()
}

// codeOr returns the reply's code, or own if it has none.
func (ev evidence) codeOr(own string) string {
	if ev.code != "" {
		return ev.code
	}
	return own
}

// standard returns what the reply says in words that mean the same at every provider.
func (ev evidence) standard() (v verdict, ok bool) {
	var vague *standardCode
	for _, code := range ev.said() {
		key := squeeze(code)
		s, known := standardByKey[key]
		switch {
		case known && !s.vague:
			return verdict{outcome: s.outcome, code: s.code, fault: s.fault, wrongClient: wrongClientByKey[key]}, true
		case wrongClientByKey[key]:
			return verdict{outcome: perennial.OutcomeMisconfigured, code: ev.codeOr("invalid_client"), fault: perennial.FaultClient, wrongClient: true}, true
		case known && vague == nil:
			vague = &s
		}
	}
	if s, ok := standardByKey[squeeze(clearPhrase(strings.Join(ev.said(), " ")+" "+ev.text))]; ok {
		return verdict{outcome: s.outcome, code: s.code, fault: s.fault}, true
	}
	if vague == nil {
		return v, false
	}
	return verdict{outcome: vague.outcome, code: vague.code, fault: vague.fault, unclear: true}, true
}

// said returns the reply's error codes as they were sent.
func (ev evidence) said() []string {
	if len(ev.codes) == 0 && ev.code != "" {
		return []string{ev.code}
	}
	return ev.codes
}

// byStatus judges a reply whose words say nothing.
func (ev evidence) byStatus() verdict {
	switch {
	case ev.status >= 500:
		return verdict{outcome: perennial.OutcomeUnknown, code: "http_" + strconv.Itoa(ev.status)}
	case ev.status >= 300 && ev.status < 400:
		// Never follow it: that would send the token to another host.
		return verdict{outcome: perennial.OutcomeMisconfigured, code: "redirected"}
	case ev.status == http.StatusNotFound, ev.status == http.StatusMethodNotAllowed, ev.status == http.StatusGone:
		return verdict{outcome: perennial.OutcomeMisconfigured, code: ev.codeOr("endpoint_not_found")}
	case ev.status == http.StatusUnauthorized && ev.code == "" && ev.basic:
		// As in RFC 6749 section 5.2, but without its code.
		return verdict{outcome: perennial.OutcomeMisconfigured, code: "invalid_client", wrongClient: true}
	case ev.status >= 400:
		return verdict{outcome: perennial.OutcomeRejected, code: ev.codeOr("http_" + strconv.Itoa(ev.status)), unclear: true}
	case ev.readable && ev.code != "":
		return verdict{outcome: perennial.OutcomeRejected, code: ev.code, unclear: true} // an error in a 200
	default:
		return verdict{outcome: perennial.OutcomeUnknown, code: CodeMalformed}
	}
}

func (s Spelling) matches(ev evidence) bool {
	anyStatus := s.HTTPStatus == 0 && ev.status < 500 && ev.status != http.StatusTooManyRequests
	return (anyStatus || s.HTTPStatus == ev.status) && s.hasCode(ev) &&
		(s.Contains == "" || strings.Contains(strings.ToLower(ev.text), strings.ToLower(s.Contains)))
}

// hasCode reports whether the reply has the spelling's code, at any place and in any
// form.
func (s Spelling) hasCode(ev evidence) bool {
	return s.Code == "" || slices.ContainsFunc(ev.said(), func(code string) bool {
		return strings.EqualFold(code, s.Code) || squeeze(s.Code) != "" && squeeze(code) == squeeze(s.Code)
	})
}

// verdict returns what the spelling makes of a reply that it matches.
func (s Spelling) verdict(ev evidence) verdict {
	own := "http_" + strconv.Itoa(ev.status)
	if numberCode.MatchString(s.Code) {
		own = "error_" + s.Code
	}
	v := verdict{outcome: s.Outcome, code: ev.codeOr(own), fault: s.Fault}
	v.wrongClient = s.Outcome == perennial.OutcomeMisconfigured && s.Fault == perennial.FaultClient
	return v
}

// outcomesSpelt are the outcomes that a provider may have a spelling for, with the faults
// that fit them.
var outcomesSpelt = map[perennial.Outcome][]perennial.Fault{
	perennial.OutcomeRevoked:       {perennial.FaultGrant},
	perennial.OutcomeMisconfigured: {perennial.FaultClient, perennial.FaultRequest},
	perennial.OutcomeRateLimited:   {perennial.FaultRequest, perennial.FaultNobody},
	perennial.OutcomeTooEarly:      {perennial.FaultRequest},
	perennial.OutcomeBusy:          {perennial.FaultRequest},
	perennial.OutcomeUnavailable:   {perennial.FaultNobody},
	perennial.OutcomeUnknown:       {perennial.FaultNobody},
	perennial.OutcomeRejected:      perennial.Faults,
}

// validate returns an error for a spelling that contradicts itself.
func (s Spelling) validate(provider string) error {
	faults, ok := outcomesSpelt[s.Outcome]
	switch {
	case !ok:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: a spelling cannot have the outcome %q", provider, s.Outcome)
	case s.HTTPStatus == 0 && s.Code == "" && s.Contains == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: a spelling needs a status, a code or a text: without one it would match every reply", provider)
	case s.Fault != "" && !slices.Contains(faults, s.Fault):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: the outcome %s is the fault of one of %v, not of %q", provider, s.Outcome, faults, s.Fault)
	}
	return nil
}
