package provider

import "github.com/perennial-oauth/perennial"

// faultOf returns whose fault an outcome is if nothing but its code says so.
func faultOf(outcome perennial.Outcome, code string) perennial.Fault {
	switch outcome {
	case perennial.OutcomeRefreshed:
		return ""
	case perennial.OutcomeRevoked:
		return perennial.FaultGrant
	case perennial.OutcomeRateLimited, perennial.OutcomeTooEarly, perennial.OutcomeBusy:
		return perennial.FaultRequest
	case perennial.OutcomeUnavailable, perennial.OutcomeUnknown:
		return perennial.FaultNobody
	}
	said := perennial.FaultOf(code)
	if outcome == perennial.OutcomeMisconfigured && said != perennial.FaultRequest {
		return perennial.FaultClient
	}
	return said
}

// FailingCode returns the code by which a connection shows that this reply made it fail:
// the reply's own, unless that would blame somebody else. A provider that says
// invalid_grant because it is asked too often says nothing about the grant.
func (r Reply) FailingCode() string {
	switch {
	case r.Fault == "" || perennial.FaultOf(r.Code) == r.Fault:
		return r.Code
	case r.Outcome == perennial.OutcomeTooEarly:
		return codeTooEarly
	case r.Outcome == perennial.OutcomeRateLimited, r.Outcome == perennial.OutcomeBusy:
		return "too_many_requests"
	case r.Fault == perennial.FaultGrant:
		return "grant_refused"
	case r.Fault == perennial.FaultClient:
		return "client_refused"
	case r.Fault == perennial.FaultRequest:
		return "request_refused"
	}
	return "temporarily_unavailable"
}

// SignInRequired reports whether the provider refused the grant because the user must
// sign in or consent again, which is not the same as that access was removed.
func (r Reply) SignInRequired() bool {
	return r.Outcome == perennial.OutcomeRevoked && standardByKey[squeeze(r.Code)].signIn
}
