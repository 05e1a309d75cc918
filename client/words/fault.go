package words

import (
	"maps"
	"strings"
)

// Fault says whose fault a refresh without tokens was.
type Fault string

// The faults.
const (
	FaultGrant   Fault = "grant"   // the customer's access has ended, or the provider says so
	FaultClient  Fault = "client"  // our client, its secret, or a key of ours
	FaultRequest Fault = "request" // the form, the origin or the time of the request
	FaultNobody  Fault = "nobody"  // no answer, or one that says nothing
)

// Faults lists every fault.
var Faults = []Fault{FaultGrant, FaultClient, FaultRequest, FaultNobody}

// faults has the error codes, in lower case, that say whose fault it was: those of
// standards (provider.standardCodes has the sources), those of providers, and ours. A
// code that is missing here, or says nothing, has [FaultNobody].
var faults = map[string]Fault{
	"invalid_grant":                     FaultGrant,
	"interaction_required":              FaultGrant,
	"login_required":                    FaultGrant,
	"consent_required":                  FaultGrant,
	"account_selection_required":        FaultGrant,
	"unmet_authentication_requirements": FaultGrant,
	"insufficient_user_authentication":  FaultGrant,
	"insufficient_scope":                FaultGrant,
	"expired_token":                     FaultGrant,
	"bad_refresh_token":                 FaultGrant, // HubSpot, GitHub
	"invalid_refresh_token":             FaultGrant, // Slack
	"grant_refused":                     FaultGrant,
	"held_terminal":                     FaultGrant, // a refusal that is not believed yet
	"never_worked":                      FaultGrant,

	"invalid_client":                FaultClient,
	"unauthorized_client":           FaultClient,
	"invalid_client_metadata":       FaultClient,
	"invalid_redirect_uri":          FaultClient,
	"invalid_software_statement":    FaultClient,
	"unapproved_software_statement": FaultClient,
	"invalid_client_id":             FaultClient, // Slack
	"invalid_client_secret":         FaultClient, // Zoho
	"invalid_client_credentials":    FaultClient,
	"bad_client_id":                 FaultClient, // HubSpot
	"bad_client_secret":             FaultClient, // HubSpot, Slack
	"incorrect_client_credentials":  FaultClient, // GitHub
	"deleted_client":                FaultClient, // Google
	"disabled_client":               FaultClient, // Google
	"client_refused":                FaultClient,
	"app_not_configured":            FaultClient,
	"client_id_mismatch":            FaultClient,
	"endpoint_not_found":            FaultClient,
	"redirected":                    FaultClient,
	"not_opened":                    FaultClient,
	"not_sealed":                    FaultClient,
	"set_aside":                     FaultClient,
	"bound_token":                   FaultClient,
	"reply_kept":                    FaultClient,

	"invalid_request":               FaultRequest,
	"invalid_scope":                 FaultRequest,
	"unsupported_grant_type":        FaultRequest,
	"unsupported_token_type":        FaultRequest,
	"invalid_target":                FaultRequest,
	"invalid_resource":              FaultRequest,
	"invalid_authorization_details": FaultRequest,
	"use_dpop_nonce":                FaultRequest,
	"invalid_dpop_proof":            FaultRequest,
	"authorization_pending":         FaultRequest,
	"slow_down":                     FaultRequest,
	"http_401":                      FaultRequest,
	"http_403":                      FaultRequest,
	"too_many_requests":             FaultRequest,
	"rate_limited":                  FaultRequest,
	"rate_limit_exceeded":           FaultRequest,
	"too_early":                     FaultRequest,
	"request_refused":               FaultRequest,

	"refused_unclear": FaultNobody, // refused for long, in words that say nothing
}

// KnownCodes returns whose fault each code is that a line of the table says, by code.
func KnownCodes() map[string]Fault { return maps.Clone(faults) }

// FaultOf returns whose fault a failing code is, [FaultNobody] for a code that it does
// not know. It blames nobody for an answer that it does not understand.
func FaultOf(code string) Fault {
	if f, ok := faults[strings.ToLower(code)]; ok {
		return f
	}
	return FaultNobody
}

// failingTexts has the texts of failing codes that mean more than whose fault it is.
var failingTexts = map[string]string{
	"held_terminal":   "{p} refuses our renewals, and we are finding out why; we keep trying",
	"never_worked":    "{p} refuses our renewals, and we are finding out why; we keep trying",
	"refused_unclear": "{p} has refused our renewals for some time and does not say why; we keep trying",
	"circuit_open":    waitsText,
	"stopped":         waitsText,
	"slow_down":       waitsText,
	"rate_limit":      waitsText,
	"no_lifetime":     "{p} does not say how long its access lasts; we renew it often",
}

const (
	waitsText   = "renewals with {p} wait their turn; we go on by ourselves"
	silentText  = "{p} has not answered our latest renewals; we keep trying"
	failingText = "our latest renewals with {p} did not succeed; we keep trying"
)

// textOfFault has the text of each fault.
var textOfFault = map[Fault]string{
	FaultGrant:   failingText,
	FaultClient:  "a setting on our side keeps us from renewing access to {p}; there is nothing for you to do",
	FaultRequest: "{p} does not accept our renewals at present; we keep trying",
	FaultNobody:  failingText,
}

// silence has the codes of requests that got no answer.
var silence = map[string]bool{"timeout": true, "dns": true, "connection_refused": true, "connection_lost": true, "not_sent_or_lost": true}

// DescribeFailing is the [StatusText] of an active connection whose refreshes fail with
// a code. It says that a provider does not answer only if that is so.
func DescribeFailing(code, title string) StatusText {
	code = strings.ToLower(code)
	text, ok := failingTexts[code]
	switch {
	case ok:
	case silence[code] || strings.HasPrefix(code, "http_5"):
		text = silentText
	default:
		text = textOfFault[FaultOf(code)]
	}
	return StatusText{Label: "Connected", Detail: strings.ReplaceAll(text, "{p}", title)}
}
