package provider

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// present asks a server that always answers so, as an app of the entry.
func present(t *testing.T, e Entry, status int, body string) Reply {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	e.TokenURL = server.URL
	if e.AuthStyle == 0 {
		e.AuthStyle = oauth2.AuthStyleInParams
	}
	return NewClient(ClientConfig{}).Refresh(t.Context(), App{Name: "app", ClientID: "id", Provider: e}, testSecret, testToken, free)
}

// TestSpellings: what real providers were seen to answer, and what the same
// answer means from another.
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
		{"slack", 200, `{"ok":false,"error":"fatal_error","access_token":"x"}`, perennial.OutcomeRejected},
		{"slack", 200, `{"ok":true,"access_token":"x","refresh_token":"y","expires_in":43200}`, perennial.OutcomeRefreshed},
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

		// The same from somebody who does not mean it.
		{"github", 200, `{"error":"invalid_refresh_token"}`, perennial.OutcomeRejected},
		{"slack", 200, `{"ok":false,"error":"bad_refresh_token"}`, perennial.OutcomeRejected},
		{"google", 403, `{"error":"unauthorized_client"}`, perennial.OutcomeMisconfigured},
		{"generic", 403, `{"error":"forbidden"}`, perennial.OutcomeRejected},
		{"generic", 403, ``, perennial.OutcomeRejected},
		{"generic", 404, `<html>`, perennial.OutcomeMisconfigured},
		{"generic", 410, ``, perennial.OutcomeMisconfigured},
		{"generic", 400, `{"error":"invalid_request"}`, perennial.OutcomeRejected},
		{"generic", 500, `{"error":"invalid_grant"}`, perennial.OutcomeUnknown},
		{"generic", 502, `<html>`, perennial.OutcomeUnknown},
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

// TestEntries: every entry is whole, and says where its replay class is known
// from.
func TestEntries(t *testing.T) {
	t.Parallel()
	require.True(t, slices.IsSorted(Names()), Names())
	for _, name := range Names() {
		e := entry(t, name)
		if name == "generic" {
			continue
		}
		assert.NoError(t, e.Validate(), name)
		assert.NotEmpty(t, e.AuthURL, name)
		assert.NotEmpty(t, e.Title, name)
		for _, s := range e.Spellings {
			assert.NotZero(t, s.Code+s.Contains, "%s: a spelling that matches anything", name)
		}
	}
	for class, names := range map[perennial.ReplayClass][]string{
		perennial.ReplayReusable:     {"dropbox", "google", "microsoft", "zoho"},
		perennial.ReplayGrace:        {"atlassian", "box", "shopify", "xero"},
		perennial.ReplaySingleUse:    {"github", "slack", "zendesk"},
		perennial.ReplayReuseRevokes: {"salesforce"},
		perennial.ReplayUnknown:      {"asana", "docusign", "generic", "hubspot", "linkedin", "notion", "pipedrive", "quickbooks", "square", "zoom"},
	} {
		var got []string
		for _, name := range Names() {
			if entry(t, name).ReplayClass == class {
				got = append(got, name)
			}
		}
		assert.Equal(t, names, got, class)
	}
}

// TestOwnBodies: members and forms that a provider wants are sent, once.
func TestOwnBodies(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]map[string]string{
		"zendesk": {"grant_type": "refresh_token", "refresh_token": testToken.Reveal(), "client_id": "id", "client_secret": testSecret.Reveal(), "expires_in": "1800"},
		"notion":  {"grant_type": "refresh_token", "refresh_token": testToken.Reveal()},
		"shopify": {"grant_type": "refresh_token", "refresh_token": testToken.Reveal(), "client_id": "id", "client_secret": testSecret.Reveal(), "expiring": "1"},
	} {
		var requests atomic.Int32
		got := map[string]string{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.Header.Get("Content-Type") == "application/json" {
				raw, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.NoError(t, json.Unmarshal(raw, &got))
				assert.EqualValues(t, len(raw), r.ContentLength)
			} else {
				assert.NoError(t, r.ParseForm())
				for k := range r.PostForm {
					got[k] = r.PostForm.Get(k)
				}
			}
			fmt.Fprint(w, `{"access_token":"a"}`)
		}))
		e := entry(t, name)
		e.TokenURL = server.URL
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), App{Name: "app", ClientID: "id", Provider: e}, testSecret, testToken, free)
		server.Close()
		assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, name)
		assert.Equal(t, want, got, name)
		assert.EqualValues(t, 1, requests.Load(), name)
	}
}

func TestSquareNamesAnInstant(t *testing.T) {
	t.Parallel()
	r := present(t, entry(t, "square"), 200, `{"access_token":"a","refresh_token":"r","expires_at":"2999-01-01T00:00:00Z"}`)
	require.Equal(t, perennial.OutcomeRefreshed, r.Outcome)
	assert.Positive(t, r.Tokens.ExpiresIn)
}

// TestRevoke is RFC 7009.
func TestRevoke(t *testing.T) {
	t.Parallel()
	client := NewClient(ClientConfig{})
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		for _, status := range []int{200, 503} {
			var form map[string][]string
			var basic bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.NoError(t, r.ParseForm())
				form = r.PostForm
				_, _, basic = r.BasicAuth()
				w.WriteHeader(status)
			}))
			a := App{Name: "app", ClientID: "id", ClientSecrets: []perennial.Secret{testSecret}, Provider: Entry{Name: "generic", RevokeURL: server.URL, AuthStyle: style}}
			err := client.Revoke(t.Context(), a, testToken)
			server.Close()
			assert.Equal(t, []string{testToken.Reveal()}, form["token"])
			assert.Equal(t, style == oauth2.AuthStyleInHeader, basic)
			assert.Equal(t, style == oauth2.AuthStyleInParams, len(form["client_secret"]) > 0)
			assert.Equal(t, status != 200, err != nil)
			if err != nil {
				assert.NotContains(t, err.Error(), testToken.Reveal())
			}
		}
	}
	assert.NoError(t, client.Revoke(t.Context(), App{}, testToken), "no endpoint: nothing to do")
	err := client.Revoke(t.Context(), App{Provider: Entry{RevokeURL: "http://127.0.0.1:1/?x=1"}}, testToken)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), testToken.Reveal())
}

func TestHosts(t *testing.T) {
	t.Parallel()
	a := App{Name: "shop", Provider: entry(t, "shopify")}
	at, err := a.At("my-shop.myshopify.com")
	require.NoError(t, err)
	assert.Equal(t, "https://my-shop.myshopify.com/admin/oauth/access_token", at.Provider.TokenURL)
	for _, bad := range []string{"", "myshopify.com", "evil.com", "evil.com/.myshopify.com", "evil.com#.myshopify.com", "a@b.myshopify.com", "x.myshopify.com:8080",
		"x.myshopify.com.evil.com", "X.myshopify.com", "x..myshopify.com", "-x.myshopify.com", "x\u3002myshopify.com", "x.myshopify.com\n"} {
		_, err := a.At(bad)
		assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "%q", bad)
	}
	plain := App{Provider: entry(t, "google")}
	same, err := plain.At("whatever")
	require.NoError(t, err)
	assert.Equal(t, plain.Provider.TokenURL, same.Provider.TokenURL)
}

// FuzzHost: whatever the host is, the token goes to where the entry allows.
func FuzzHost(f *testing.F) {
	f.Add("my-shop.myshopify.com")
	f.Add("evil.com/.myshopify.com")
	f.Fuzz(func(t *testing.T, host string) {
		e, _ := Lookup("shopify")
		at, err := App{Provider: e}.At(host)
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodPost, at.Provider.TokenURL, nil)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(req.URL.Hostname(), ".myshopify.com"), host)
		require.Equal(t, "/admin/oauth/access_token", req.URL.Path)
		require.Nil(t, req.URL.User)
	})
}
