package provider

import (
	"slices"
	"strings"
	"unicode"

	"github.com/perennial-oauth/perennial"
)

// standardCode is an error code of a standard, and what it says about a refresh: its
// outcome, and whose fault that is.
type standardCode struct {
	code    string // as the standard spells it
	outcome perennial.Outcome
	fault   perennial.Fault
	// vague: servers use the code for several causes. A clear text beside it counts
	// more, see [phrases].
	vague bool
	// signIn: the grant is not refused for good. The user must sign in or consent again.
	signIn bool
}

// standardCodes lists the error codes that mean the same at every provider. What a
// standard leaves open is rejected, which changes no connection's status.
var standardCodes = []standardCode{
	// RFC 6749 section 5.2.
	{code: "invalid_grant", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant},
	{code: "invalid_client", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},
	{code: "unauthorized_client", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},
	{code: "unsupported_grant_type", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "invalid_scope", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "invalid_request", outcome: perennial.OutcomeRejected, fault: perennial.FaultRequest, vague: true},
	// RFC 6749 section 4.1.2.1. Token endpoints send them too, with a 400.
	{code: "access_denied", outcome: perennial.OutcomeRejected, fault: perennial.FaultNobody, vague: true},
	{code: "temporarily_unavailable", outcome: perennial.OutcomeUnavailable, fault: perennial.FaultNobody},
	{code: "server_error", outcome: perennial.OutcomeUnknown, fault: perennial.FaultNobody}, // the work may be half done

	// RFC 6750 section 3.1. They are about an access token, and a refresh sends none.
	{code: "invalid_token", outcome: perennial.OutcomeRejected, fault: perennial.FaultNobody, vague: true},
	{code: "insufficient_scope", outcome: perennial.OutcomeRejected, fault: perennial.FaultGrant, vague: true},

	// The user must act. OpenID Connect Core section 3.1.2.6; Unmet Authentication
	// Requirements 1.0; RFC 9470 section 3.
	{code: "interaction_required", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},
	{code: "login_required", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},
	{code: "consent_required", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},
	{code: "account_selection_required", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},
	{code: "unmet_authentication_requirements", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},
	{code: "insufficient_user_authentication", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant, signIn: true},

	// Ours, for texts that say it.
	{code: codeTooEarly, outcome: perennial.OutcomeTooEarly, fault: perennial.FaultRequest},

	// RFC 8628 section 3.5, and section 11 of OpenID Connect CIBA.
	{code: "authorization_pending", outcome: perennial.OutcomeTooEarly, fault: perennial.FaultRequest},
	{code: "slow_down", outcome: perennial.OutcomeRateLimited, fault: perennial.FaultRequest},
	{code: "expired_token", outcome: perennial.OutcomeRevoked, fault: perennial.FaultGrant},

	// The form of our request. RFC 8707 section 2, and Entra's older word for it; RFC
	// 9396 section 5; RFC 9449 sections 5 and 8; RFC 7009 section 2.2.1.
	{code: "invalid_target", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "invalid_resource", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "invalid_authorization_details", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "use_dpop_nonce", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "invalid_dpop_proof", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},
	{code: "unsupported_token_type", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultRequest},

	// Our registration. RFC 7591 section 3.2.2.
	{code: "invalid_client_metadata", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},
	{code: "invalid_redirect_uri", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},
	{code: "invalid_software_statement", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},
	{code: "unapproved_software_statement", outcome: perennial.OutcomeMisconfigured, fault: perennial.FaultClient},

	// RFC 6585 section 4, in the words that servers make of it.
	{code: "too_many_requests", outcome: perennial.OutcomeRateLimited, fault: perennial.FaultRequest},
	{code: "rate_limited", outcome: perennial.OutcomeRateLimited, fault: perennial.FaultRequest},
	{code: "rate_limit_exceeded", outcome: perennial.OutcomeRateLimited, fault: perennial.FaultRequest},
}

// standardByKey has the standard codes by their [squeeze].
var standardByKey = func() map[string]standardCode {
	byKey := make(map[string]standardCode, len(standardCodes))
	for _, s := range standardCodes {
		byKey[squeeze(s.code)] = s
	}
	return byKey
}()

// squeeze returns the letters and digits of a code, in lower case. Servers write
// invalid_grant with a space, a hyphen or capitals.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// phrase is a text that says clearly why a refresh was refused.
type phrase struct {
	text string // squeezed
	code string // of a standard, or ours
}

// phrases are looked for where the code is vague, or says nothing that is known. The
// first match counts.
var phrases = []phrase{
	// Exact Online refuses a refresh until its access token is nearly over.
	{"accesstokennotexpired", codeTooEarly}, {"accesstokenisnotexpired", codeTooEarly}, {"accesstokenhasnotexpired", codeTooEarly},
	{"accesstokenstillvalid", codeTooEarly}, {"accesstokenisstillvalid", codeTooEarly}, {"tooearlytorefresh", codeTooEarly},

	{"refreshtokenexpired", codeDead}, {"refreshtokenisexpired", codeDead}, {"refreshtokenhasexpired", codeDead}, {"expiredrefreshtoken", codeDead},
	{"refreshtokenrevoked", codeDead}, {"refreshtokenisrevoked", codeDead}, {"refreshtokenwasrevoked", codeDead}, {"refreshtokenhasbeenrevoked", codeDead}, {"revokedrefreshtoken", codeDead},
	{"invalidrefreshtoken", codeDead}, {"refreshtokeninvalid", codeDead}, {"refreshtokenisinvalid", codeDead}, {"refreshtokenisnotvalid", codeDead}, {"badrefreshtoken", codeDead},
	{"refreshtokennotfound", codeDead}, {"refreshtokendoesnotexist", codeDead}, {"unknownrefreshtoken", codeDead},
	{"refreshtokenreused", codeDead}, {"refreshtokenalreadyused", codeDead}, {"refreshtokenhasbeenused", codeDead}, {"refreshtokenhasalreadybeenused", codeDead}, {"oldrefreshtokenused", codeDead},
}

const (
	codeDead     = "invalid_grant"
	codeTooEarly = "too_early"
)

// aboutForm are words of texts that complain about the form of the request. Beside one,
// a phrase proves nothing: "missing or invalid refresh_token parameter".
var aboutForm = map[string]bool{"missing": true, "parameter": true, "parameters": true, "format": true, "malformed": true, "empty": true}

// clearPhrase returns the code that a text clearly says, or "".
func clearPhrase(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) })
	if slices.ContainsFunc(words, func(word string) bool { return aboutForm[word] }) {
		return ""
	}
	key := squeeze(text)
	for _, p := range phrases {
		if strings.Contains(key, p.text) {
			return p.code
		}
	}
	return ""
}
