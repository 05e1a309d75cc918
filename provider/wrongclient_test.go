package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// answer returns the reply of an endpoint that always gives this answer.
func answer(t *testing.T, e Entry, status int, header http.Header, body string) Reply {
	t.Helper()
	client := NewClient(ClientConfig{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		for k, v := range header {
			rec.Header()[k] = v
		}
		rec.WriteHeader(status)
		_, err := rec.WriteString(body)
		return rec.Result(), err
	})})
	e.TokenURL = "https://token.test/"
	e.Exchange.URL = e.TokenURL
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	secret, token := presentedTo(t, e)
	return client.Refresh(t.Context(), App{Name: "app", ClientID: "id", Provider: e}, secret, token, free)
}

// TestWrongClient: at every provider, each spelling of a wrong client is the app's
// fault, and the next secret is tried. After no other answer is it tried.
func TestWrongClient(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		e := entry(t, name)
		if e.CustomersClient() {
			continue // TestCustomersClient
		}
		if e.Renewal == RenewalNone {
			continue // the client is in no request after the consent
		}
		for code := range wrongClient {
			for _, spelt := range []string{code, strings.ToUpper(code)} {
				for _, body := range []string{`{"error":%q}`, `{"ok":false,"error":%q,"error_description":"x"}`, `{"error":{"code":%q}}`, `{"error_code":%q}`} {
					for _, status := range []int{200, 400, 401, 403} {
						what := fmt.Sprint(name, " ", status, " ", body, " ", spelt)
						r := answer(t, e, status, nil, fmt.Sprintf(body, spelt))
						assert.Equal(t, perennial.OutcomeMisconfigured, r.Outcome, what)
						assert.True(t, r.ClientRejected(), what)
					}
				}
				for _, status := range []int{429, 500, 503} {
					assert.False(t, answer(t, e, status, nil, fmt.Sprintf(`{"error":%q}`, spelt)).ClientRejected(), "%s %d %s", name, status, spelt)
				}
			}
		}
		for _, c := range []struct {
			status int
			body   string
		}{
			{400, `{"error":"unauthorized_client"}`}, {401, `{"error":"unauthorized_client"}`}, {400, `{"error":"invalid_scope"}`},
			{400, `{"error":"unsupported_grant_type"}`}, {400, `{"error":"invalid_grant"}`}, {401, `{"error":"invalid_grant"}`},
			{400, `{"error":"invalid_request"}`}, {400, ``}, {403, `<html>blocked</html>`}, {404, `<html>`}, {407, ``}, {302, ``},
			{200, `{"error":"some_error"}`}, {200, ``}, {200, `{"access_token":"a"}`}, {500, `{"error":"invalid_client"}`},
		} {
			assert.False(t, answer(t, e, c.status, nil, c.body).ClientRejected(), "%s %d %s", name, c.status, c.body)
		}
	}
	hubspot := answer(t, entry(t, "hubspot"), 400, nil, `{"status":"BAD_CLIENT_SECRET","message":"missing or invalid client secret"}`)
	assert.True(t, hubspot.ClientRejected())
	assert.Equal(t, "BAD_CLIENT_SECRET", hubspot.Code, "as the provider wrote it")
}

// TestBare401: a 401 surely means a wrong client only if the server asks for Basic (RFC
// 6749 section 5.2). The next secret is tried either way.
func TestBare401(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		challenge, body string
		want            perennial.Outcome
		code            string
	}{
		{``, ``, perennial.OutcomeRejected, "http_401"},
		{``, `<html>no</html>`, perennial.OutcomeRejected, "http_401"},
		{`Bearer realm="x"`, ``, perennial.OutcomeRejected, "http_401"},
		{`Bearer realm="Basic"`, ``, perennial.OutcomeRejected, "http_401"},
		{`Basic realm="oauth"`, ``, perennial.OutcomeMisconfigured, "invalid_client"},
		{`basic`, `{"message":"Unauthorized"}`, perennial.OutcomeMisconfigured, "invalid_client"},
		{`Bearer realm="x", Basic realm="y"`, `<html>`, perennial.OutcomeMisconfigured, "invalid_client"},
		{`Basic realm="oauth"`, `{"error":"some_error"}`, perennial.OutcomeRejected, "some_error"},
	} {
		r := answer(t, entry(t, "generic"), 401, http.Header{"Www-Authenticate": {c.challenge}}, c.body)
		assert.Equal(t, c.want, r.Outcome, "%+v", c)
		assert.Equal(t, c.code, r.Code, "%+v", c)
		assert.True(t, r.ClientRejected(), "%+v", c)
	}
	refused := answer(t, entry(t, "generic"), 401, http.Header{"Www-Authenticate": {"Basic"}}, `{"error":"invalid_grant"}`)
	assert.Equal(t, perennial.OutcomeRevoked, refused.Outcome)
	assert.False(t, refused.ClientRejected())
	for _, status := range []int{400, 403, 503} {
		other := answer(t, entry(t, "generic"), status, http.Header{"Www-Authenticate": {"Basic"}}, ``)
		assert.NotEqual(t, perennial.OutcomeMisconfigured, other.Outcome, status)
	}
}

// TestRevokeTriesTheNextSecret: the next secret is tried only if the provider says that
// the client is wrong.
func TestRevokeTriesTheNextSecret(t *testing.T) {
	t.Parallel()
	right := perennial.NewSecret("right")
	for _, c := range []struct {
		status    int
		challenge string
		body      string
		requests  int32
		fails     bool
	}{
		{400, "", `{"error":"invalid_client"}`, 2, false},
		{401, "", `{"status":"BAD_CLIENT_SECRET"}`, 2, false},
		{200, "", `{"error":"incorrect_client_credentials"}`, 2, false},
		{401, "Basic", ``, 2, false},
		{401, "", ``, 1, true},
		{400, "", `{"error":"invalid_request"}`, 1, true},
		{503, "", `{"error":"invalid_client"}`, 1, true},
	} {
		var requests atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.FormValue("client_secret") == right.Reveal() {
				return
			}
			w.Header().Set("Www-Authenticate", c.challenge)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		a := App{Name: "app", ClientID: "id", ClientSecrets: []perennial.Secret{testSecret, right},
			Provider: Entry{Name: "generic", RevokeURL: server.URL, AuthStyle: oauth2.AuthStyleInParams}}
		err := NewClient(ClientConfig{}).Revoke(t.Context(), a, testToken)
		assert.Equal(t, c.fails, err != nil, "%+v: %v", c, err)
		assert.Equal(t, c.requests, requests.Load(), "%+v", c)
		a.ClientSecrets = a.ClientSecrets[:1]
		err = NewClient(ClientConfig{}).Revoke(t.Context(), a, testToken)
		require.Error(t, err, "%+v", c)
		assert.NotContains(t, err.Error(), testToken.Reveal())
		server.Close()
	}
	echo := NewClient(ClientConfig{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		rec.WriteHeader(400)
		_, err := rec.WriteString("error=" + url.QueryEscape("plantedsecret"))
		return rec.Result(), err
	})})
	planted := perennial.NewSecret("plantedsecret")
	err := echo.Revoke(t.Context(), App{ClientSecrets: []perennial.Secret{planted}, Provider: Entry{Name: "generic", RevokeURL: "https://token.test/"}}, testToken)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), planted.Reveal())
}
