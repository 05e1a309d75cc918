package provider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// members returns the members of a request's form or JSON object.
func members(t *testing.T, r *http.Request) map[string]string {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	assert.NoError(t, err)
	assert.EqualValues(t, len(raw), r.ContentLength)
	got := map[string]string{}
	if r.Header.Get("Content-Type") == "application/json" {
		assert.NoError(t, json.Unmarshal(raw, &got))
		return got
	}
	form, err := url.ParseQuery(string(raw))
	assert.NoError(t, err)
	for k := range form {
		got[k] = form.Get(k)
	}
	return got
}

// TestWire: every entry's request has the body and the client's proof that its provider
// expects, according to the facts of its fixtures.
func TestWire(t *testing.T) {
	t.Parallel()
	extra := map[string]map[string]string{"shopify": {"expiring": "1"}, "zendesk": {"expires_in": "1800"}}
	for _, name := range Names() {
		if e := entry(t, name); e.Grant.FromCredentials() || e.Renewal != RenewalRefreshToken {
			continue // TestGrants, TestWireOfRenewals
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := map[string]string{"grant_type": "refresh_token", "refresh_token": testToken.Reveal()}
			for k, v := range extra[name] {
				want[k] = v
			}
			facts := readFixtures(t, name).Facts
			inHeader := facts["auth_style"] == "header"
			contentType, user, password := "application/x-www-form-urlencoded", url.QueryEscape("client id"), url.QueryEscape(testSecret.Reveal())
			switch {
			case facts["secret_as_user"] == "true":
				user, password = password, ""
			case !inHeader:
				user, password = "", ""
				want["client_id"], want["client_secret"] = "client id", testSecret.Reveal()
			}
			if facts["json_body"] == "true" {
				contentType = "application/json"
			}
			e := entry(t, name)
			if e.AuthStyle == 0 {
				e.AuthStyle = oauth2.AuthStyleInParams
			}
			var requests atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				assert.Equal(t, contentType, r.Header.Get("Content-Type"))
				assert.Equal(t, "application/json", r.Header.Get("Accept"))
				gotUser, gotPassword, basic := r.BasicAuth()
				assert.Equal(t, inHeader, basic)
				assert.Equal(t, []string{user, password}, []string{gotUser, gotPassword})
				assert.Equal(t, want, members(t, r))
				fmt.Fprint(w, `{"access_token":"a"}`)
			}))
			defer server.Close()
			e.TokenURL = server.URL
			reply := NewClient(ClientConfig{}).Refresh(t.Context(), App{Name: "app", ClientID: "client id", Provider: e}, testSecret, testToken, free)
			assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome)
			assert.EqualValues(t, 1, requests.Load())
		})
	}
}

// TestOwnBodySendsOnce: a rewritten body is not sent again either, even on a kept-alive
// connection that the server drops.
func TestOwnBodySendsOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"atlassian", "notion", "shopify", "square", "zendesk"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests, sends atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if requests.Add(1) > 1 {
					panic(http.ErrAbortHandler)
				}
				fmt.Fprint(w, `{"access_token":"a"}`)
			}))
			defer server.Close()
			transport := http.DefaultTransport.(*http.Transport).Clone()
			client := NewClient(ClientConfig{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				assert.Nil(t, r.GetBody, "net/http could send it again")
				return transport.RoundTrip(r)
			})})
			e := entry(t, name)
			e.TokenURL = server.URL
			send := func(context.Context) error { sends.Add(1); return nil }
			for i, want := range []perennial.Outcome{perennial.OutcomeRefreshed, perennial.OutcomeUnknown, perennial.OutcomeUnknown} {
				reply := client.Refresh(t.Context(), App{Name: "app", ClientID: "client id", Provider: e}, testSecret, testToken, send)
				assert.Equal(t, want, reply.Outcome)
				assert.EqualValues(t, i+1, requests.Load())
				assert.EqualValues(t, i+1, sends.Load())
			}
		})
	}
}

// TestOwnBodyLeaksNothing: the server repeats the client's proof and the body.
func TestOwnBodyLeaksNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"notion", "stripe-apps", "zendesk"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			echo := r.Header.Get("Authorization") + " " + string(raw)
			w.WriteHeader(http.StatusBadRequest)
			assert.NoError(t, json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": echo, "reason": echo}))
		}))
		e := entry(t, name)
		e.TokenURL = server.URL
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), App{Name: "app", ClientID: "client id", Provider: e}, testSecret, testToken, free)
		server.Close()
		require.NotEmpty(t, reply.Description, name)
		out := fmt.Sprintf("%+v", reply)
		for _, secret := range []string{testToken.Reveal(), testSecret.Reveal()} {
			assert.NotContains(t, out, secret, name)
			assert.NotContains(t, out, url.QueryEscape(secret), name)
			assert.NotContains(t, out, base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(secret)+":")), name)
		}
	}
}
