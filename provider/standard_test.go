package provider

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// forms are the ways in which servers were seen to say an error code.
var forms = map[string]func(code string) string{
	"RFC 6749":    func(c string) string { return fmt.Sprintf(`{"error":%q}`, c) },
	"with a text": func(c string) string { return fmt.Sprintf(`{"error":%q,"error_description":"Something happened."}`, c) },
	"capitals":    func(c string) string { return fmt.Sprintf(`{"error":%q}`, strings.ToUpper(c)) },
	"spaces":      func(c string) string { return fmt.Sprintf(`{"error":%q}`, strings.ReplaceAll(c, "_", " ")) },
	"hyphens":     func(c string) string { return fmt.Sprintf(`{"error":%q}`, strings.ReplaceAll(c, "_", "-")) },
	"camel case": func(c string) string {
		return fmt.Sprintf(`{"error":%q}`, strings.ReplaceAll(strings.ToTitle(c[:1])+c[1:], "_", ""))
	},
	"text after it":          func(c string) string { return fmt.Sprintf(`{"error":"%s: something happened"}`, c) },
	"an object":              func(c string) string { return fmt.Sprintf(`{"error":{"code":%q,"message":"x"}}`, c) },
	"an object with numbers": func(c string) string { return fmt.Sprintf(`{"error":{"code":400,"status":%q,"message":"x"}}`, c) },
	"a list of texts":        func(c string) string { return fmt.Sprintf(`{"error":[%q]}`, c) },
	"a list of objects":      func(c string) string { return fmt.Sprintf(`{"errors":[{"code":%q,"detail":"x"}]}`, c) },
	"a second code":          func(c string) string { return fmt.Sprintf(`{"error":"Bad Request","error_code":%q}`, c) },
	"Apigee": func(c string) string {
		return fmt.Sprintf(`{"fault":{"faultstring":"x","detail":{"errorcode":%q}}}`, c)
	},
	"a form":               func(c string) string { return "error=" + c + "&error_description=x" },
	"plain text":           func(c string) string { return c },
	"plain text with more": func(c string) string { return c + ": something happened\n" },
	"a JSON text":          func(c string) string { return fmt.Sprintf("%q", c) },
	"a JSON list":          func(c string) string { return fmt.Sprintf(`[{"error":%q}]`, c) },
}

// TestStandardCodes: the codes of the standards mean the same at every provider, in every
// form, and the customer's text blames the same side.
func TestStandardCodes(t *testing.T) {
	t.Parallel()
	generic := entry(t, "generic")
	for _, s := range standardCodes {
		assert.Equal(t, s.fault, perennial.FaultOf(s.code), s.code)
		for name, form := range forms {
			for _, status := range []int{200, 400, 401, 403} {
				r := answer(t, generic, status, nil, form(s.code))
				what := fmt.Sprint(s.code, ", ", name, " ", status)
				assert.Equal(t, s.outcome, r.Outcome, what)
				assert.Equal(t, s.code, r.Code, what)
				assert.Equal(t, s.vague, r.Unclear, what)
				if !s.vague {
					assert.Equal(t, s.fault, r.Fault, what)
				}
			}
			for _, status := range []int{500, 502, 503} {
				assert.Equal(t, perennial.OutcomeUnknown, answer(t, generic, status, nil, form(s.code)).Outcome, "%s %d", s.code, status)
			}
			assert.Equal(t, perennial.OutcomeRateLimited, answer(t, generic, 429, nil, form(s.code)).Outcome, s.code)
		}
	}
	assert.Len(t, standardByKey, len(standardCodes), "no code stands twice")
}

// TestClearTexts: a text that says clearly what is wrong counts where the code is vague
// or unknown, and nowhere else.
func TestClearTexts(t *testing.T) {
	t.Parallel()
	const revoked, rejected, misconfigured = perennial.OutcomeRevoked, perennial.OutcomeRejected, perennial.OutcomeMisconfigured
	for _, c := range []struct {
		status int
		body   string
		want   perennial.Outcome
	}{
		{400, `{"error":"invalid_request","error_description":"Invalid refresh_token"}`, revoked},
		{400, `{"error":"invalid_request","error_description":"The refresh token expired at 10/11/2022 9:18:20 PM and it is now 10/28/2022 4:15:50 PM."}`, revoked}, // Exact Online
		{400, `{"error":"invalid_request","error_description":"The provided authorization grant (e.g., authorization code, resource owner credentials) or refresh token is invalid, expired, revoked, does not match the redirection URI used in the authorization request, or was issued to another client."}`, revoked},
		{401, `{"error":"invalid_token","error_description":"Invalid refresh token (expired): 00000000"}`, revoked}, // Spring
		{400, `{"error":"Bad Request","message":"Refresh token has been revoked"}`, revoked},
		{400, `{"error":{"message":"Your refresh token has already been used to generate a new access token.","type":"invalid_request_error","code":"refresh_token_reused"}}`, revoked},
		{400, `{"message":"Unknown refresh token"}`, revoked},
		{400, `{"fault":{"faultstring":"Invalid Refresh Token","detail":{"errorcode":"keymanagement.service.invalid_refresh_token"}}}`, revoked},
		{400, `{"errors":[{"code":"UNAUTHORIZED","detail":"Refresh token not found"}]}`, revoked},
		{400, `Refresh token expired. For more information see the documentation.`, revoked},
		{200, `{"error":"invalid_refresh_token"}`, revoked},

		{400, `{"error":"access_denied","error_description":"Rate limit exceeded: access_token not expired"}`, perennial.OutcomeTooEarly},
		{400, `{"error":"access_denied"}`, rejected},

		// The form of the request, another code's meaning, and texts about something else.
		{400, `{"error":"invalid_request","error_description":"Missing or invalid refresh_token"}`, rejected},
		{400, `{"error":"invalid_request","error_description":"Invalid refresh_token parameter"}`, rejected},
		{400, `{"error":"invalid_request","error_description":"refresh_token is required"}`, rejected},
		{400, `{"error":"invalid_request","error_description":"Malformed request: invalid refresh token"}`, rejected},
		{401, `{"error":"invalid_client","error_description":"Invalid refresh token"}`, misconfigured},
		{400, `{"error":"unauthorized_client","error_description":"Invalid refresh token"}`, misconfigured},
		{401, `{"error":"invalid_token","error_description":"The access token expired"}`, rejected},
		{400, `{"error":"invalid_request","error_description":"The session expired"}`, rejected},
		{400, `Bad Request`, rejected},
		{400, `<html>invalid_grant</html>`, rejected},
		{400, "invalid_grant" + strings.Repeat(".", maxPlain), rejected},
	} {
		r := answer(t, entry(t, "generic"), c.status, nil, c.body)
		assert.Equal(t, c.want, r.Outcome, c.body)
		assert.Equal(t, c.want == rejected, r.Unclear, c.body)
	}
}

// TestNoRefusal: what has no error stays unknown, because tokens may have been in it.
func TestNoRefusal(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"code":0,"message":"OK"}`, `{"code":"success","data":{}}`, `{"status":"ok","type":"token"}`, `OK`, `"ok"`, `[]`, `[{"token":"invalid"}]`, `<p>invalid_grant</p>`,
		`invalid`, `{"access_tok`, `access_token`, `null`, `true`} {
		r := answer(t, entry(t, "generic"), 200, nil, body)
		assert.Equal(t, perennial.OutcomeUnknown, r.Outcome, body)
		assert.False(t, r.Unclear, body)
	}
}

// TestSpeltFault: a spelling decides the outcome, whose fault it is, and what the
// customer reads, against the words of the standard.
func TestSpeltFault(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider    string
		body        string
		want        perennial.Outcome
		fault       perennial.Fault
		failing     string
		nextSecret  bool
		description string
	}{
		{"microsoft", `{"error":"invalid_grant","error_description":"AADSTS50196: a loop"}`, perennial.OutcomeRateLimited, perennial.FaultRequest, "too_many_requests", false, "throttling in the words of a dead grant"},
		{"microsoft", `{"error":"invalid_grant","error_description":"AADSTS90055: too many"}`, perennial.OutcomeRateLimited, perennial.FaultRequest, "too_many_requests", false, "the same"},
		{"microsoft", `{"error":"invalid_grant","error_description":"AADSTS90033: away"}`, perennial.OutcomeUnavailable, perennial.FaultNobody, "temporarily_unavailable", false, "an outage in the words of a dead grant"},
		{"microsoft", `{"error":"invalid_grant","error_description":"AADSTS50000: x"}`, perennial.OutcomeUnknown, perennial.FaultNobody, "temporarily_unavailable", false, "the same, but the token may be spent"},
		{"microsoft", `{"error":"unauthorized_client","error_description":"AADSTS700016: x"}`, perennial.OutcomeRevoked, perennial.FaultGrant, "grant_refused", false, "a bad connection in the words of a bad client"},
		{"microsoft", `{"error":"invalid_resource","error_description":"AADSTS500011: x"}`, perennial.OutcomeRejected, perennial.FaultGrant, "grant_refused", false, "the same, and it may be mended"},
		{"microsoft", `{"error":"unauthorized_client","error_description":"AADSTS7000222: x"}`, perennial.OutcomeMisconfigured, perennial.FaultClient, "unauthorized_client", true, "a wrong secret in the words of a client that is not allowed"},
		{"microsoft", `{"error":"invalid_request","error_description":"AADSTS7000215: x"}`, perennial.OutcomeMisconfigured, perennial.FaultClient, "client_refused", true, "the same, in the words of a bad request"},
		{"microsoft", `{"error":"unauthorized_client","error_description":"AADSTS70001: x"}`, perennial.OutcomeMisconfigured, perennial.FaultClient, "unauthorized_client", false, "the app is disabled"},
		{"google", `{"error":"deleted_client"}`, perennial.OutcomeMisconfigured, perennial.FaultClient, "deleted_client", true, "no grant is dead"},
		{"salesforce", `{"error":"invalid_grant","error_description":"token request is already being processed"}`, perennial.OutcomeBusy, perennial.FaultRequest, "too_many_requests", false, "two at once"},
		{"salesforce", `{"error":"invalid_grant","error_description":"ip restricted"}`, perennial.OutcomeRejected, perennial.FaultRequest, "request_refused", false, "our address"},
		{"salesforce", `{"error":"inactive_user"}`, perennial.OutcomeRevoked, perennial.FaultGrant, "grant_refused", false, "the user left"},
		{"slack", `{"ok":false,"error":"ratelimited"}`, perennial.OutcomeRateLimited, perennial.FaultRequest, "too_many_requests", false, ""},
		{"hubspot", `{"status":"BAD_REFRESH_TOKEN"}`, perennial.OutcomeRevoked, perennial.FaultGrant, "BAD_REFRESH_TOKEN", false, ""},
		{"hubspot", `{"status":"BAD_CLIENT_SECRET"}`, perennial.OutcomeMisconfigured, perennial.FaultClient, "BAD_CLIENT_SECRET", true, ""},
		{"generic", `{"error":"something"}`, perennial.OutcomeRejected, perennial.FaultNobody, "something", false, "nobody knows"},
	} {
		r := answer(t, entry(t, c.provider), 400, nil, c.body)
		what := c.provider + " " + c.body + ": " + c.description
		assert.Equal(t, c.want, r.Outcome, what)
		assert.Equal(t, c.fault, r.Fault, what)
		assert.Equal(t, c.failing, r.FailingCode(), what)
		assert.Equal(t, c.fault, perennial.FaultOf(r.FailingCode()), what)
		assert.Equal(t, c.nextSecret, r.ClientRejected(), what)
		assert.Equal(t, c.provider == "generic", r.Unclear, what)
	}
	for _, own := range []Spelling{{Code: "E-77", Outcome: perennial.OutcomeMisconfigured, Fault: perennial.FaultClient}, {Code: "190", Outcome: perennial.OutcomeMisconfigured, Fault: perennial.FaultClient}} {
		e := entry(t, "generic")
		e.Spellings = []Spelling{own}
		r := answer(t, e, 400, nil, fmt.Sprintf(`{"error":{"code":%q}}`, own.Code))
		assert.True(t, r.ClientRejected(), "a configuration's own spelling of a wrong client")
		assert.Equal(t, perennial.FaultClient, perennial.FaultOf(r.FailingCode()))
	}
}

// TestSpellingsAreWhole: each spelling says something that fits together.
func TestSpellingsAreWhole(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		for _, s := range entry(t, name).Spellings {
			require.NoError(t, s.validate(name))
		}
	}
	good := Entry{Name: "x", TokenURL: "https://x.test", AuthStyle: 1, ReplayClass: perennial.ReplayUnknown, ReplaySource: "x"}
	require.NoError(t, good.Validate())
	for want, s := range map[string]Spelling{
		"cannot have the outcome": {Code: "a", Outcome: perennial.OutcomeRefreshed},
		"would match every reply": {Outcome: perennial.OutcomeRevoked},
		"is the fault of one of":  {Code: "a", Outcome: perennial.OutcomeRevoked, Fault: perennial.FaultClient},
		"not of \"whoever\"":      {Code: "a", Outcome: perennial.OutcomeRejected, Fault: "whoever"},
	} {
		bad := good
		bad.Spellings = []Spelling{s}
		require.ErrorContains(t, bad.Validate(), want)
	}
}

// FuzzRefusal: any refusal is one of the outcomes of a refusal, its
// fault is known, and a success or a server's failure is never taken for a refusal.
func FuzzRefusal(f *testing.F) {
	for _, form := range forms {
		f.Add(400, []byte(form("invalid_grant")))
	}
	f.Add(200, []byte(`[[[["invalid_grant"]]]]`))
	f.Add(503, []byte(`{"errors":{"fault":[{"code":"invalid_client"}]}}`))
	f.Add(401, []byte(`{"error":{"errors":[{"reason":"x"}],"code":1e99}}`))
	e, _ := Lookup("microsoft")
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		read := readReply(body, e, time.Time{})
		ev := read.evidence(status, http.Header{}, testSecret, testToken)
		v := classify(e, ev)
		if !slices.Contains(perennial.Faults, v.fault) {
			t.Fatalf("nobody's fault: %+v", v)
		}
		if (status >= 500 || status == http.StatusTooManyRequests) && (v.unclear || v.outcome == perennial.OutcomeRevoked || v.outcome == perennial.OutcomeMisconfigured) {
			t.Fatalf("%d is no refusal: %+v", status, v)
		}
		if v.unclear && v.outcome != perennial.OutcomeRejected {
			t.Fatalf("unclear, and not rejected: %+v", v)
		}
		if len(read.refusal.codes) > maxCodes || len(read.refusal.texts) > 2*maxCodes {
			t.Fatal("unbounded")
		}
	})
}
