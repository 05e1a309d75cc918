package provider

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// present presents a token, by the entry, to a server that always gives this answer.
func present(t *testing.T, e Entry, status int, body string) Reply {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	e.TokenURL = server.URL
	e.Exchange.URL = e.TokenURL
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	secret, token := presentedTo(t, e)
	return NewClient(ClientConfig{}).Refresh(t.Context(), App{Name: "app", ClientID: "id", Provider: e}, secret, token, free)
}

// TestSpellings: what real providers were seen to answer, and what the same answer
// means from another provider.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider string
		status   int
		body     string
		want     perennial.Outcome
	}{
		{"hubspot", 400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}`, perennial.OutcomeRevoked},
		{"hubspot", 400, `{"status":"BAD_REFRESH_TOKEN","error":"invalid_grant","error_description":"x"}`, perennial.OutcomeRevoked},
		{"hubspot", 400, `{"status":"BAD_CLIENT_ID","message":"x"}`, perennial.OutcomeMisconfigured},
		{"hubspot", 400, `{"status":"BAD_CLIENT_SECRET","message":"x"}`, perennial.OutcomeMisconfigured},
		{"hubspot", 429, `{"errorType":"RATE_LIMIT"}`, perennial.OutcomeRateLimited},
		{"quickbooks", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"quickbooks", 401, `{"error":"invalid_client"}`, perennial.OutcomeMisconfigured},
		{"salesforce", 400, `{"error":"invalid_grant","error_description":"expired access/refresh token"}`, perennial.OutcomeRevoked},
		{"google", 400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`, perennial.OutcomeRevoked},
		{"google", 400, `{"error":"invalid_grant","error_subtype":"invalid_rapt"}`, perennial.OutcomeRevoked},
		{"microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS700082: expired"}`, perennial.OutcomeRevoked},
		{"microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS50173: revoked"}`, perennial.OutcomeRevoked},
		{"slack", 200, `{"ok":false,"error":"invalid_refresh_token"}`, perennial.OutcomeRevoked},
		{"slack", 200, `{"ok":false,"error":"bad_client_secret"}`, perennial.OutcomeMisconfigured},
		{"slack", 200, `{"ok":false,"error":"ratelimited"}`, perennial.OutcomeRateLimited},
		{"slack", 200, `{"ok":false,"error":"not_allowed_token_type","access_token":"x"}`, perennial.OutcomeRejected},
		{"slack", 200, `{"ok":false,"error":"fatal_error","access_token":"x"}`, perennial.OutcomeUnknown},
		{"slack", 200, `{"ok":false,"error":"internal_error"}`, perennial.OutcomeUnknown},
		{"slack", 200, `{"ok":false,"authed_user":{"access_token":"x"}}`, perennial.OutcomeUnknown},
		{"slack", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"slack", 200, `{"ok":true,"access_token":"x","refresh_token":"y","expires_in":43200}`, perennial.OutcomeRefreshed},
		{"microsoft", 400, `{"error":"interaction_required","error_description":"AADSTS50076: a second factor"}`, perennial.OutcomeRevoked},
		{"microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS70008: expired"}`, perennial.OutcomeRevoked},
		{"microsoft", 400, `{"error":"invalid_grant","error_description":"AADSTS700084: 24 h"}`, perennial.OutcomeRevoked},
		{"microsoft", 401, `{"error":"invalid_client","error_description":"AADSTS7000215: wrong secret"}`, perennial.OutcomeMisconfigured},
		{"stripe-apps", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"zoom", 400, `{"reason":"Invalid Token!","error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"zoom", 401, `{"reason":"Invalid Token!","error":"invalid_request"}`, perennial.OutcomeRevoked},
		{"xero", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"zoho", 200, `{"error":"invalid_code"}`, perennial.OutcomeRevoked},
		{"zoho", 200, `{"error":"Access Denied","error_description":"You have made too many requests continuously. Please try again after some time."}`, perennial.OutcomeRateLimited},
		{"zoho", 200, `{"error":"Access Denied"}`, perennial.OutcomeRejected},
		{"zoho", 200, `{"error":"invalid_client"}`, perennial.OutcomeMisconfigured},
		{"atlassian", 403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`, perennial.OutcomeRevoked},
		{"atlassian", 403, `{"error":"unauthorized_client","error_description":"refresh_token is invalid"}`, perennial.OutcomeRevoked},
		{"github", 200, `{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}`, perennial.OutcomeRevoked},
		{"github", 200, `error=bad_refresh_token&error_description=x`, perennial.OutcomeRevoked},
		{"github", 200, `{"error":"incorrect_client_credentials"}`, perennial.OutcomeMisconfigured},
		{"dropbox", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},
		{"box", 400, `{"error":"invalid_grant","error_description":"Refresh token has expired"}`, perennial.OutcomeRevoked},
		{"docusign", 400, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked},

		// The same from a provider that means something else by it.
		{"github", 200, `{"error":"token_revoked"}`, perennial.OutcomeRejected},
		{"slack", 200, `{"ok":false,"error":"inactive_org"}`, perennial.OutcomeRejected},
		{"slack", 500, `{"ok":false,"error":"invalid_refresh_token"}`, perennial.OutcomeUnknown},
		{"slack", 429, `{"ok":false,"error":"invalid_refresh_token"}`, perennial.OutcomeRateLimited},
		{"github", 502, `{"error":"bad_refresh_token"}`, perennial.OutcomeUnknown},
		{"github", 200, `{"error":"invalid_code"}`, perennial.OutcomeRejected},
		{"hubspot", 500, `{"status":"BAD_REFRESH_TOKEN"}`, perennial.OutcomeUnknown},
		{"zoho", 503, `{"error":"invalid_code"}`, perennial.OutcomeUnknown},
		{"generic", 200, `{"error":"Access Denied","error_description":"too many requests"}`, perennial.OutcomeRejected},
		{"generic", 400, `{"error":"invalid_request","error_description":"AADSTS50076: a second factor"}`, perennial.OutcomeRejected},
		{"generic", 401, `{"reason":"Invalid Token!","error":"invalid_request"}`, perennial.OutcomeRejected},
		{"atlassian", 403, `{"error":"unauthorized_client","error_description":"the grant type is not allowed"}`, perennial.OutcomeMisconfigured},
		{"atlassian", 403, `{"error":"unauthorized_client"}`, perennial.OutcomeMisconfigured},
		{"google", 403, `{"error":"unauthorized_client","error_description":"refresh_token is invalid"}`, perennial.OutcomeMisconfigured},
		{"google", 403, `{"error":"unauthorized_client"}`, perennial.OutcomeMisconfigured},
		{"generic", 403, `{"error":"forbidden"}`, perennial.OutcomeRejected},
		{"generic", 403, ``, perennial.OutcomeRejected},
		{"generic", 404, `<html>`, perennial.OutcomeMisconfigured},
		{"generic", 410, ``, perennial.OutcomeMisconfigured},
		{"generic", 400, `{"error":"invalid_request"}`, perennial.OutcomeRejected},
		{"generic", 500, `{"error":"invalid_grant"}`, perennial.OutcomeUnknown},
		{"generic", 502, `<html>`, perennial.OutcomeUnknown},
		{"generic", 400, `{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}`, perennial.OutcomeRevoked},
		{"generic", 400, `{"message":"Bad Request","errors":[{"resource":"Application","field":"client_id","code":"invalid"}]}`, perennial.OutcomeRejected},
		{"generic", 400, `{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"missing"}]}`, perennial.OutcomeRejected},
		{"generic", 200, `<html>`, perennial.OutcomeUnknown},
		{"generic", 200, `{"access_tok`, perennial.OutcomeUnknown},
		{"generic", 200, `{}`, perennial.OutcomeUnknown},
		{"generic", 200, `[]`, perennial.OutcomeUnknown},
		{"generic", 200, `{"access_token":"a","expires_in":{"x":1}}`, perennial.OutcomeRefreshed},
	} {
		r := present(t, entry(t, c.provider), c.status, c.body)
		assert.Equal(t, c.want, r.Outcome, "%s %d %s -> %s", c.provider, c.status, c.body, r.Code)
	}
}

// TestEverySpelling: a request reaches each spelling, no earlier one hides it, and none
// turns a server error into an answer.
func TestEverySpelling(t *testing.T) {
	t.Parallel()
	generic := entry(t, "generic")
	for _, name := range Names() {
		e := entry(t, name)
		for _, s := range e.Spellings {
			body, err := json.Marshal(map[string]string{"error": s.Code, "error_description": s.Contains})
			require.NoError(t, err)
			status := s.HTTPStatus
			if status == 0 {
				status = http.StatusOK
			}
			what := fmt.Sprintf("%s %d %s", name, status, body)
			want := s.Outcome
			if e.CustomersClient() && want == perennial.OutcomeMisconfigured {
				want = perennial.OutcomeRevoked
			}
			assert.Equal(t, want, present(t, e, status, string(body)).Outcome, what)
			assert.Equal(t, perennial.OutcomeUnknown, present(t, e, http.StatusInternalServerError, string(body)).Outcome, what)
			if standardByKey[squeeze(s.Code)].outcome != perennial.OutcomeRevoked && clearPhrase(s.Code) == "" && clearPhrase(s.Contains) == "" {
				assert.NotEqual(t, perennial.OutcomeRevoked, present(t, generic, status, string(body)).Outcome, what)
			}
		}
	}
}

// TestCodeOfEndpoint: answers from a URL that is no token endpoint.
func TestCodeOfEndpoint(t *testing.T) {
	t.Parallel()
	r := present(t, entry(t, "generic"), http.StatusNotFound, `<html>not here</html>`)
	assert.Equal(t, "endpoint_not_found", r.Code)
	assert.True(t, r.Sent)
}

func TestSquareNamesAnInstant(t *testing.T) {
	t.Parallel()
	r := present(t, entry(t, "square"), 200, `{"access_token":"a","refresh_token":"r","expires_at":"`+time.Now().Add(30*day).UTC().Format(time.RFC3339)+`"}`)
	require.Equal(t, perennial.OutcomeRefreshed, r.Outcome)
	assert.InDelta(t, (30 * day).Seconds(), r.Tokens.ExpiresIn.Seconds(), 60)
}

// TestSlackTokens: a bot's tokens are at the top, a user's under authed_user, and the
// two are never mixed.
func TestSlackTokens(t *testing.T) {
	t.Parallel()
	user := `"authed_user":{"id":"U1","access_token":"user-access","refresh_token":"user-refresh","token_type":"user","expires_in":43200,"scope":"a,b"}`
	for _, c := range []struct {
		name, provider, body, access, refresh string
	}{
		{"the user's alone", "slack", `{"ok":true,` + user + `}`, "user-access", "user-refresh"},
		{"both", "slack", `{"ok":true,"access_token":"bot-access","refresh_token":"bot-refresh",` + user + `}`, "bot-access", "bot-refresh"},
		{"a bot without a new refresh token", "slack", `{"ok":true,"access_token":"bot-access",` + user + `}`, "bot-access", ""},
		{"authed_user that is no object", "slack", `{"ok":true,"access_token":"bot-access","authed_user":"U1"}`, "bot-access", ""},
		{"refused", "slack", `{"ok":false,"error":"invalid_refresh_token",` + user + `}`, "", ""},
		{"refused, with the bot's", "slack", `{"ok":false,"error":"invalid_refresh_token","access_token":"bot-access","refresh_token":"bot-refresh"}`, "", ""},
		{"of a provider that does not name the place", "github", `{` + user + `}`, "user-access", "user-refresh"},
		{"a member without a name", "generic", `{"":{"access_token":"x"}}`, "x", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := present(t, entry(t, c.provider), http.StatusOK, c.body)
			assert.Equal(t, c.access != "", r.Outcome == perennial.OutcomeRefreshed, r.Outcome)
			assert.Equal(t, c.access, r.Tokens.AccessToken.Reveal())
			assert.Equal(t, c.refresh, r.Tokens.RefreshToken.Reveal())
			if c.access == "user-access" {
				assert.Equal(t, []string{"a", "b"}, r.Tokens.Scopes)
				assert.Positive(t, r.Tokens.ExpiresIn)
				assert.Equal(t, "Bearer", r.Tokens.TokenType, "Slack's user is no scheme")
			}
		})
	}
}

// TestTokenType: a reply's token_type is not used as a scheme of Authorization. Only the
// registered types that differ on purpose count as others.
func TestTokenType(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{`"bot"`: "Bearer", `"bearer"`: "Bearer", `"Bearer"`: "Bearer", `"user"`: "Bearer", `"Dpop"`: "DPoP", `"mac"`: "MAC", `""`: "", `null`: "", `{}`: ""} {
		r := present(t, entry(t, "slack"), http.StatusOK, `{"ok":true,"access_token":"a","token_type":`+sent+`}`)
		assert.Equal(t, want, r.Tokens.TokenType, sent)
	}
}

// TestBoundTokens: access tokens that need a proof with each request are refused at the
// consent and at the import, and a refresh stores them.
func TestBoundTokens(t *testing.T) {
	t.Parallel()
	const body = `{"access_token":"a","refresh_token":"r","token_type":"DPoP","expires_in":60}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
	defer server.Close()
	e := entry(t, "generic")
	e.TokenURL, e.AuthStyle = server.URL, oauth2.AuthStyleInParams
	r := NewClient(ClientConfig{}).Exchange(t.Context(), App{Name: "crm", ClientID: "id", Provider: e}, testSecret, AuthorizationCode{})
	assert.Equal(t, perennial.OutcomeMisconfigured, r.Outcome)
	assert.Equal(t, CodeBoundToken, r.Code)
	assert.Contains(t, r.Description, "app crm access tokens of the type DPoP")
	assert.Zero(t, r.Tokens)
	assert.False(t, r.ClientRejected())
	_, _, err := ParseTokens(strings.NewReader(body), e)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.ErrorContains(t, err, "DPoP")
	stored := present(t, e, http.StatusOK, body)
	assert.Equal(t, perennial.OutcomeRefreshed, stored.Outcome)
	assert.Equal(t, "r", stored.Tokens.RefreshToken.Reveal())
}
