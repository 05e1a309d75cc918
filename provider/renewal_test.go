package provider

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// renewing returns an app whose access tokens are exchanged at address.
func renewing(address string) App {
	return App{Name: "app", ClientID: "client id", Provider: Entry{
		Name: "p", Title: "P", TokenURL: address + "/token", AuthStyle: oauth2.AuthStyleInParams, Renewal: RenewalAccessToken, DefaultLifetime: time.Hour,
		ReplayClass: perennial.ReplayUnknown, ReplaySource: "x",
		Exchange:      TokenExchange{URL: address + "/refresh?v=1", Method: "GET", GrantType: "refresh_it", Parameter: "access_token"},
		FirstExchange: TokenExchange{URL: address + "/first", GrantType: "exchange_it", Parameter: "short_token", Client: []string{"client_id", "client_secret"}},
	}}
}

// TestRenewalByAccessToken: the access token of a consent takes its first exchange, each
// later one the other; the successor is kept in the refresh token's place, and what a
// request need not have stays at home.
func TestRenewalByAccessToken(t *testing.T) {
	t.Parallel()
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseForm())
		assert.Empty(t, r.Header.Get("Authorization"))
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Form.Encode())
		_, _ = w.Write([]byte(`{"access_token":"next","refresh_token":"odd","expires_in":5184000}`))
	}))
	defer server.Close()
	app, client := renewing(server.URL), NewClient(ClientConfig{})
	require.NoError(t, app.Provider.Validate())

	reply := client.Exchange(t.Context(), app, testSecret, AuthorizationCode{Code: testToken, Verifier: testToken, RedirectURI: "https://us.example/cb"})
	require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome)
	stored := reply.Tokens.RefreshToken
	assert.Equal(t, 60*day, reply.Tokens.RefreshTokenExpiresIn, "it ends with the access token")
	for range 2 {
		reply = client.Refresh(t.Context(), app, testSecret, stored, free)
		require.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, reply.Code)
		assert.Equal(t, "next", reply.Tokens.AccessToken.Reveal())
		assert.Equal(t, 60*day, reply.Tokens.RefreshTokenExpiresIn)
		stored = reply.Tokens.RefreshToken
	}
	secretForm := url.Values{"client_id": {"client id"}, "client_secret": {testSecret.Reveal()}, "grant_type": {"exchange_it"}, "short_token": {"next"}}
	assert.Equal(t, []string{"POST /first " + secretForm.Encode(), "GET /refresh access_token=next&grant_type=refresh_it&v=1"}, got[1:])
}

// TestWireOfRenewals: the requests of the catalogue's entries are those that the pages of
// their providers show.
func TestWireOfRenewals(t *testing.T) {
	t.Parallel()
	secret, token := url.QueryEscape(testSecret.Reveal()), url.QueryEscape(testToken.Reveal())
	for _, c := range []struct {
		name  string
		first bool
		want  string
	}{
		{"facebook", true, "https://graph.facebook.com/v25.0/oauth/access_token?client_id=client+id&client_secret=" + secret + "&fb_exchange_token=" + token + "&grant_type=fb_exchange_token"},
		{"facebook", false, "https://graph.facebook.com/v25.0/oauth/access_token?client_id=client+id&client_secret=" + secret + "&fb_exchange_token=" + token + "&grant_type=fb_exchange_token"},
		{"instagram", true, "https://graph.instagram.com/access_token?access_token=" + token + "&client_secret=" + secret + "&grant_type=ig_exchange_token"},
		{"instagram", false, "https://graph.instagram.com/refresh_access_token?access_token=" + token + "&grant_type=ig_refresh_token"},
		{"intercom", false, "https://api.intercom.io/me"},
	} {
		var got []string
		client := NewClient(ClientConfig{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.Method+" "+r.URL.String())
			rec := httptest.NewRecorder()
			_, err := rec.WriteString(`{"access_token":"a","expires_in":5184000}`)
			return rec.Result(), err
		})})
		reply := client.Refresh(t.Context(), App{Name: "app", ClientID: "client id", Provider: entry(t, c.name)}, testSecret, hold(testToken, c.first), free)
		assert.Equal(t, perennial.OutcomeRefreshed, reply.Outcome, c.name)
		assert.Equal(t, []string{"GET " + c.want}, got, c.name)
	}
}

// TestRenewalOfCallersTokens: what a caller brings is exchanged by its life, and a refresh
// token of another kind is refused with what to do.
func TestRenewalOfCallersTokens(t *testing.T) {
	t.Parallel()
	e := renewing("https://p.example").Provider
	for life, first := range map[time.Duration]bool{0: false, time.Hour: true, day: true, 60 * day: false} {
		stored, err := e.Stored(perennial.TokenSet{AccessToken: testToken, ExpiresIn: life})
		require.NoError(t, err)
		token, isFirst, ok := openHeld(stored.RefreshToken)
		require.True(t, ok)
		assert.Equal(t, testToken.Reveal(), token.Reveal())
		assert.Equal(t, first, isFirst, life)
		again, err := e.Stored(stored)
		require.NoError(t, err)
		assert.Equal(t, stored, again, "once")
	}
	for _, other := range []perennial.Secret{testSecret, hold(testSecret, false)} {
		_, err := e.Stored(perennial.TokenSet{AccessToken: testToken, RefreshToken: other})
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
		assert.Equal(t, "P gives no refresh tokens: give the access token alone", err.Error())
	}
	plain := perennial.TokenSet{AccessToken: testToken, RefreshToken: testSecret}
	stored, err := Entry{}.Stored(plain)
	require.NoError(t, err)
	assert.Equal(t, plain, stored)
}

// TestRenewalsDoNotCross: neither kind of stored token is sent as the other.
func TestRenewalsDoNotCross(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") }))
	defer server.Close()
	none := renewing(server.URL)
	none.Provider.Renewal, none.Provider.CheckURL = RenewalNone, server.URL
	byRefresh := App{Name: "app", ClientID: "id", Provider: Entry{Name: "p", TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInParams}}
	for _, c := range []struct {
		app   App
		token perennial.Secret
	}{{renewing(server.URL), testToken}, {none, testToken}, {byRefresh, hold(testToken, false)}} {
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), c.app, testSecret, c.token, free)
		assert.Equal(t, perennial.OutcomeMisconfigured, reply.Outcome)
		assert.Equal(t, codeOtherGrant, reply.Code)
		leaksNothing(t, errors.New(reply.Description))
	}
}

// TestExchangeIsSentOnce: net/http repeats a GET whose connection breaks, which would show
// an access token twice. Ours is sent once, over HTTP/1.1 on a connection that was in use.
func TestExchangeIsSentOnce(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var requests atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if requests.Add(1) > 1 {
						return // no answer
					}
					_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"access_token\":1} "))
				}
			}()
		}
	}()
	app, client := renewing("http://"+listener.Addr().String()), NewClient(ClientConfig{})
	assert.Equal(t, perennial.OutcomeRefreshed, client.Refresh(t.Context(), app, testSecret, hold(testToken, false), free).Outcome)
	reply := client.Refresh(t.Context(), app, testSecret, hold(testToken, false), free)
	assert.Equal(t, perennial.OutcomeUnknown, reply.Outcome, "it was sent, and nothing came back")
	assert.EqualValues(t, 2, requests.Load())
	leaksNothing(t, errors.New(reply.Description+reply.Code))
}

// TestExchangeTellsNothing: no reply repeats the token or the secret, though both stood in
// the address.
func TestExchangeTellsNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"code":190,"message":"asked for ` + r.URL.String() + ` with ` + r.URL.Query().Get("access_token") + `"}}`))
	}))
	defer server.Close()
	app := renewing(server.URL)
	app.Provider.Exchange.Client = []string{"client_secret"}
	app.Provider.Spellings = []Spelling{{Code: "190", Outcome: perennial.OutcomeRevoked}}
	reply := NewClient(ClientConfig{}).Refresh(t.Context(), app, testSecret, hold(testToken, false), free)
	assert.Equal(t, perennial.OutcomeRevoked, reply.Outcome)
	assert.Equal(t, "error_190", reply.Code)
	assert.Equal(t, perennial.FaultGrant, reply.Fault)
	leaksNothing(t, errors.New(reply.Description))
}

// TestLook: a token that nobody renews is asked for at the API. Only a 401, or what the
// description says, ends the connection; what says nothing about the token does not.
func TestLook(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status  int
		body    string
		header  http.Header
		outcome perennial.Outcome
		code    string
	}{
		{200, `{"id":1}`, nil, perennial.OutcomeRefreshed, ""},
		{204, ``, nil, perennial.OutcomeRefreshed, ""},
		{401, ``, nil, perennial.OutcomeRevoked, "invalid_token"},
		{401, `{"errors":[{"code":"unauthorized"}]}`, nil, perennial.OutcomeRevoked, "invalid_token"},
		{401, ``, http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope"`}}, perennial.OutcomeRejected, "http_401"},
		{403, ``, nil, perennial.OutcomeRejected, "http_403"},
		{400, `{"error":"token_gone"}`, nil, perennial.OutcomeRevoked, "invalid_token"},
		{200, `{"error":"token_gone"}`, nil, perennial.OutcomeRefreshed, ""},
		{404, `{"error":"token_gone"}`, nil, perennial.OutcomeMisconfigured, "endpoint_not_found"},
		{302, ``, http.Header{"Location": {"/login"}}, perennial.OutcomeMisconfigured, "redirected"},
		{429, `{"error":"token_gone"}`, http.Header{"Retry-After": {"60"}}, perennial.OutcomeRateLimited, "too_many_requests"},
		{500, `{"error":"token_gone"}`, nil, perennial.OutcomeUnavailable, "http_500"},
		{503, `<html>`, nil, perennial.OutcomeUnavailable, "http_503"},
	} {
		var asked atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			assert.Equal(t, "GET /me", r.Method+" "+r.URL.Path)
			assert.Equal(t, "Bearer "+testToken.Reveal(), r.Header.Get("Authorization"))
			for name, values := range c.header {
				w.Header()[name] = values
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		app := App{Name: "app", ClientID: "id", Provider: Entry{Name: "p", TokenURL: server.URL + "/token", AuthStyle: oauth2.AuthStyleInParams, Renewal: RenewalNone, CheckURL: server.URL + "/me"}}
		app.Provider.API.Spellings = []resource.Spelling{{HTTPStatus: 400, Code: "token_gone", Means: resource.UnauthorizedToken}}
		reply := NewClient(ClientConfig{}).Refresh(t.Context(), app, testSecret, hold(testToken, false), free)
		server.Close()
		assert.Equal(t, c.outcome, reply.Outcome, "%d %s", c.status, c.body)
		assert.Equal(t, c.code, reply.Code, "%d %s", c.status, c.body)
		assert.EqualValues(t, 1, asked.Load())
		if c.outcome == perennial.OutcomeRefreshed {
			assert.Equal(t, testToken.Digest(), reply.Tokens.AccessToken.Digest())
			assert.Equal(t, hold(testToken, false).Digest(), reply.Tokens.RefreshToken.Digest())
		}
		assert.Equal(t, c.status == 429, reply.RetryAfter == time.Minute, c.status)
	}
}

// TestLookThatGetsNoAnswer: nothing is spent, so nothing is in doubt.
func TestLookThatGetsNoAnswer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer server.Close()
	app := App{Name: "app", ClientID: "id", Provider: Entry{Name: "p", TokenURL: server.URL, AuthStyle: oauth2.AuthStyleInParams, Renewal: RenewalNone, CheckURL: server.URL}}
	reply := NewClient(ClientConfig{}).Refresh(t.Context(), app, testSecret, hold(testToken, false), free)
	assert.Equal(t, perennial.OutcomeUnavailable, reply.Outcome)
	late := NewClient(ClientConfig{}).Refresh(t.Context(), app, testSecret, hold(testToken, false), func(context.Context) error { return context.Canceled })
	assert.Equal(t, perennial.OutcomeUnavailable, late.Outcome)
	assert.False(t, late.Sent)
}

// TestRevokeHeldToken: at a disconnect the access token itself is revoked.
func TestRevokeHeldToken(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseForm())
		assert.Equal(t, testToken.Reveal(), r.PostForm.Get("token"))
		assert.Equal(t, "access_token", r.PostForm.Get("token_type_hint"))
	}))
	defer server.Close()
	app := renewing(server.URL)
	app.Provider.RevokeURL = server.URL
	require.NoError(t, NewClient(ClientConfig{}).Revoke(t.Context(), app, hold(testToken, true)))
}

// TestWrongRenewals: an entry that could keep no connection alive is refused.
func TestWrongRenewals(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(e *Entry){
		"need renewal: access_token":      func(e *Entry) { e.Renewal = RenewalRefreshToken },
		"needs an exchange":               func(e *Entry) { e.Exchange = TokenExchange{} },
		"cannot be reuse_revokes":         func(e *Entry) { e.ReplayClass = perennial.ReplayReuseRevokes },
		"takes auth_style header, params": func(e *Entry) { e.AuthStyle = AuthStylePrivateKeyJWT },
		"leave it out with this renewal":  func(e *Entry) { e.RefreshURL = "https://p.example/r" },
		"check_url needs renewal: none":   func(e *Entry) { e.CheckURL = "https://p.example/me" },
		"needs a check_url":               func(e *Entry) { *e = looking(*e); e.CheckURL = "" },
		"must be reusable":                func(e *Entry) { *e = looking(*e); e.ReplayClass = perennial.ReplayUnknown },
		"renewal is for consents": func(e *Entry) {
			e.Grant, e.Credentials, e.ReplayClass = GrantClientCredentials, []string{"tenant"}, perennial.ReplayReusable
		},
	} {
		e := renewing("https://p.example").Provider
		change(&e)
		err := e.Validate()
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), want)
		assert.Contains(t, err.Error(), want)
	}
	require.NoError(t, looking(renewing("https://p.example").Provider).Validate())

	problems := map[string]string{}
	Description{Renewal: "acces_token", Exchange: &TokenExchange{Method: "PUT", Parameter: "grant_type", Client: []string{"secret"}, URL: "ftp://x"}, FirstExchange: &TokenExchange{}, CheckURL: "x"}.Over(Entry{}, false, func(key, text string) { problems[key] = text })
	for _, key := range []string{"renewal", "exchange.method", "exchange.parameter", "exchange.client", "exchange.url", "first_exchange.url", "check_url"} {
		assert.NotEmpty(t, problems[key], key)
	}
	moved := Description{TokenURL: "https://other.example/token"}.Over(renewing("https://p.example").Provider, false, func(string, string) {})
	assert.True(t, moved.Exchange.isZero() && moved.FirstExchange.isZero(), "tokens of another server do not go to this one")
}

func looking(e Entry) Entry {
	e.Renewal, e.Exchange, e.FirstExchange = RenewalNone, TokenExchange{}, TokenExchange{}
	e.CheckURL, e.ReplayClass = "https://p.example/me", perennial.ReplayReusable
	return e
}

// FuzzOpenHeld reads any text in the refresh token's place: only what hold wrote counts.
func FuzzOpenHeld(f *testing.F) {
	f.Add(hold(testToken, true).Reveal())
	f.Add(`{"credentials":{"a":"b"},"salt":"x"}`)
	f.Add(strings.Repeat("[", 100))
	f.Fuzz(func(t *testing.T, text string) {
		token, first, ok := openHeld(perennial.NewSecret(text))
		if !ok {
			return
		}
		again, isFirst, ok := openHeld(hold(token, first))
		if !ok || again.Digest() != token.Digest() || isFirst != first {
			t.Fatal("it reads otherwise a second time")
		}
	})
}

// TestKeptReplyOfRenewal: a reply that is read later keeps its connection alive, too.
func TestKeptReplyOfRenewal(t *testing.T) {
	t.Parallel()
	e := renewing("https://p.example").Provider
	e.TokensUnder = "auth"
	kept := Unread{Body: perennial.NewSecret(`{"auth":{"access_token":"next","expires_in":5184000}}`), Whole: true}
	got, cut, err := ReadUnread(kept, e, time.Now())
	require.NoError(t, err)
	assert.False(t, cut)
	token, first, ok := openHeld(got.RefreshToken)
	assert.True(t, ok && !first)
	assert.Equal(t, "next", token.Reveal())
}
