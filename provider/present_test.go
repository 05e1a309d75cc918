package provider

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

func free(context.Context) error { return nil }

func app(url string) App {
	return App{Name: "app", ClientID: "client id", Provider: Entry{Name: "generic", TokenURL: url, AuthStyle: oauth2.AuthStyleInHeader}}
}

var (
	testSecret = perennial.NewSecret("planted client+secret/=")
	testToken  = perennial.NewSecret("planted-refresh-token+/=")
)

// TestRefreshEndpoint: refreshes go to an endpoint of their own, and never to another host
// than the token endpoint's.
func TestRefreshEndpoint(t *testing.T) {
	t.Parallel()
	paths := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		fmt.Fprint(w, `{"access_token":"a"}`)
	}))
	defer server.Close()
	a, client := app(server.URL+"/token"), NewClient(ClientConfig{})
	for refreshURL, want := range map[string]string{"": "/token", server.URL + "/refresh": "/refresh", "http://127.0.0.1:9/refresh": "/token"} {
		a.Provider.RefreshURL = refreshURL
		require.Equal(t, perennial.OutcomeRefreshed, client.Refresh(t.Context(), a, testSecret, testToken, free).Outcome)
		assert.Equal(t, want, <-paths, refreshURL)
		require.Equal(t, perennial.OutcomeRefreshed, client.Exchange(t.Context(), a, testSecret, AuthorizationCode{Code: testToken}).Outcome)
		assert.Equal(t, "/token", <-paths, refreshURL)
	}
}

// TestRefreshSendsOnce: whatever the server does, the token is presented once.
func TestRefreshSendsOnce(t *testing.T) {
	t.Parallel()
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    perennial.Outcome
		code    string
	}{
		"a token":      {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":"a","expires_in":"bad"}`) }, perennial.OutcomeRefreshed, ""},
		"server error": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 500) }, perennial.OutcomeUnknown, "http_500"},
		"dropped":      {abort, perennial.OutcomeUnknown, "connection_lost"},
		"HTML":         {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, perennial.OutcomeUnknown, "malformed_reply"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
		}, perennial.OutcomeMisconfigured, "redirected"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"x":"`+strings.Repeat("y", maxBody)+`"}`)
		}, perennial.OutcomeUnknown, "not_sent_or_lost"},
		"cut after headers": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, `{"access`)
		}, perennial.OutcomeUnknown, "connection_lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				user, password, ok := r.BasicAuth()
				assert.True(t, ok)
				assert.Equal(t, url.QueryEscape("client id"), user)
				assert.Equal(t, url.QueryEscape(testSecret.Reveal()), password)
				assert.Equal(t, "refresh_token", r.FormValue("grant_type"))
				assert.Equal(t, testToken.Reveal(), r.FormValue("refresh_token"))
				c.handler(w, r)
			}))
			server.Config.ErrorLog = nil
			server.Start()
			defer server.Close()
			client := NewClient(ClientConfig{})
			for i := range 3 { // the second and third use a kept-alive connection
				reply := client.Refresh(t.Context(), app(server.URL), testSecret, testToken, free)
				assert.Equal(t, c.want, reply.Outcome)
				assert.Equal(t, c.code, reply.Code)
				assert.True(t, reply.Sent)
				assert.EqualValues(t, i+1, requests.Load())
			}
		})
	}
}

func TestRefreshTellsUnsentFromSent(t *testing.T) {
	t.Parallel()
	client := NewClient(ClientConfig{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	reply := client.Refresh(t.Context(), app(closed), testSecret, testToken, free)
	assert.Equal(t, perennial.OutcomeUnavailable, reply.Outcome)
	assert.Equal(t, "connection_refused", reply.Code)
	assert.False(t, reply.Sent)

	var requests atomic.Int64
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	defer server.Close()
	defer close(release)
	reply = client.Refresh(t.Context(), app(server.URL), testSecret, testToken, func(context.Context) error { return errors.New("too late") })
	assert.Equal(t, perennial.OutcomeUnavailable, reply.Outcome)
	assert.False(t, reply.Sent)
	assert.Zero(t, requests.Load())

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	reply = client.Refresh(ctx, app(server.URL), testSecret, testToken, free)
	assert.Equal(t, perennial.OutcomeUnknown, reply.Outcome)
	assert.Equal(t, "timeout", reply.Code)
	assert.True(t, reply.Sent)
}

// TestReplyLeaksNothing: the server repeats the whole request.
func TestReplyLeaksNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		echo := string(raw) + " " + r.Header.Get("Authorization") + " " + testToken.Reveal() + " " + testSecret.Reveal()
		w.Header().Set("Intuit_tid", testToken.Reveal())
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, echo, echo)
	}))
	defer server.Close()
	a := app(server.URL)
	a.Provider.RequestIDHeader = "Intuit_tid"
	out := fmt.Sprintf("%+v", NewClient(ClientConfig{}).Refresh(t.Context(), a, testSecret, testToken, free))
	for _, secret := range []string{testToken.Reveal(), testSecret.Reveal()} {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			assert.NotContains(t, out, form)
		}
	}
	assert.NotContains(t, out, base64.StdEncoding.EncodeToString([]byte("client+id:"+url.QueryEscape(testSecret.Reveal()))))
}
