package fakeprovider_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type world struct {
	*testing.T
	*fakeprovider.Server
	url string
	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func start(t *testing.T, k fakeprovider.Knobs) (*world, fakeprovider.TokenReply) {
	t.Helper()
	w := &world{T: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	var err error
	w.Server, err = fakeprovider.New(fakeprovider.Config{Now: w.clock,
		Clients: map[string]fakeprovider.Client{"app": {Secrets: []string{"secret"}, RedirectURIs: []string{"http://127.0.0.1/back"}, Knobs: k}}})
	require.NoError(t, err)
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	tokens, err := w.Grant("app", "a1", "read")
	require.NoError(t, err)
	return w, tokens
}

// post sends a form as the client; status 0 means that no reply came.
func (w *world) post(path string, form url.Values) (int, string, http.Header) {
	req, err := http.NewRequest(http.MethodPost, w.url+path, strings.NewReader(form.Encode()))
	require.NoError(w, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("app", "secret")
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return 0, "", nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", nil
	}
	return resp.StatusCode, string(body), resp.Header
}

func (w *world) refresh(token string) (int, string) {
	status, body, _ := w.post("/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	return status, body
}

func (w *world) rotated(token string) string {
	w.Helper()
	status, body := w.refresh(token)
	require.Equal(w, 200, status, body)
	var reply fakeprovider.TokenReply
	require.NoError(w, json.Unmarshal([]byte(body), &reply))
	return reply.RefreshToken
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	for spelling, want := range map[string]struct {
		status int
		body   string
	}{
		"": {400, `"error":"invalid_grant"`}, "hubspot": {400, `"BAD_REFRESH_TOKEN"`}, "slack": {200, `"ok":false`},
		"github": {200, `"bad_refresh_token"`}, "atlassian": {403, `"invalid_grant"`},
	} {
		w, tokens := start(t, fakeprovider.Knobs{Spelling: spelling})
		require.NoError(t, w.Revoke("app", "a1"))
		status, body := w.refresh(tokens.RefreshToken)
		assert.Equal(t, want.status, status, spelling)
		assert.Contains(t, body, want.body)
	}
}

func TestKnobs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		knobs  fakeprovider.Knobs
		status int
		body   string
		worked bool
	}{
		"429":              {fakeprovider.Knobs{RateLimited: 1, RetryAfter: "9"}, 429, "limit", false},
		"503":              {fakeprovider.Knobs{ServerError: 1}, 503, "", false},
		"HTML":             {fakeprovider.Knobs{HTML: 1}, 200, "<html>", false},
		"a false refusal":  {fakeprovider.Knobs{SayRevoked: 1}, 400, "invalid_grant", false},
		"dropped before":   {fakeprovider.Knobs{DropBefore: 1}, 0, "", false},
		"dropped after":    {fakeprovider.Knobs{DropAfter: 1}, 0, "", true},
		"half":             {fakeprovider.Knobs{Truncate: 1}, 200, `"access_token"`, true},
		"502 after":        {fakeprovider.Knobs{BadGateway: 1}, 502, "", true},
		"odd lifetime":     {fakeprovider.Knobs{ExpiresIn: "soon"}, 200, `"expires_in":"soon"`, true},
		"no lifetime":      {fakeprovider.Knobs{OmitExpiresIn: true}, 200, `"token_type":"bearer"`, true},
		"no refresh token": {fakeprovider.Knobs{OmitRefresh: true}, 200, `"expires_in"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tokens := start(t, c.knobs)
			status, body := w.refresh(tokens.RefreshToken)
			assert.Equal(t, c.status, status)
			assert.Contains(t, body, c.body)
			assert.Equal(t, c.worked, w.Oracle().Refreshes == 1)
			status, _ = w.refresh(tokens.RefreshToken)
			assert.Equal(t, 200, status, "the second is well: it counts down")
		})
	}
}

func TestFirstLifetimes(t *testing.T) {
	t.Parallel()
	w, tokens := start(t, fakeprovider.Knobs{LifetimeSeconds: 60})
	require.NoError(t, w.Adjust("app", "a1", func(k *fakeprovider.Knobs) { k.Lifetimes = []float64{1, 7} }))
	for _, want := range []string{`"expires_in":1}`, `"expires_in":7}`, `"expires_in":60}`, `"expires_in":60}`} {
		status, body := w.refresh(tokens.RefreshToken)
		assert.Equal(t, 200, status)
		assert.Contains(t, strings.ReplaceAll(body, `,"scope":"read"`, ""), want)
	}
}

func TestRotationAndGrace(t *testing.T) {
	t.Parallel()
	w, tokens := start(t, fakeprovider.Knobs{Rotate: true, GraceSeconds: 60})
	next := w.rotated(tokens.RefreshToken)
	w.pass(time.Minute - 1)
	assert.Equal(t, next, w.rotated(tokens.RefreshToken), "window - 1 ns: the same again")
	w.pass(1)
	status, _ := w.refresh(tokens.RefreshToken)
	assert.Equal(t, 400, status, "at the window's end")
	assert.Equal(t, 1, w.Oracle().ConsumedPresentations)
	w.rotated(next)

	w, tokens = start(t, fakeprovider.Knobs{Rotate: true, ReuseRevokes: true})
	next = w.rotated(tokens.RefreshToken)
	status, _ = w.refresh(tokens.RefreshToken)
	assert.Equal(t, 400, status)
	status, _ = w.refresh(next)
	assert.Equal(t, 400, status, "reuse revoked the whole grant")

	w, tokens = start(t, fakeprovider.Knobs{Rotate: true, ReuseRevokes: true})
	w.rotated(tokens.RefreshToken)
	again, err := w.Grant("app", "a1", "read")
	require.NoError(t, err)
	status, _ = w.refresh(tokens.RefreshToken)
	assert.Equal(t, 400, status)
	w.rotated(again.RefreshToken) // a consent in between starts a separate grant
}

func TestSingleUseIsWonOnce(t *testing.T) {
	t.Parallel()
	w, tokens := start(t, fakeprovider.Knobs{Rotate: true})
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if status, _ := w.refresh(tokens.RefreshToken); status == 200 {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	o := w.Oracle()
	assert.EqualValues(t, 1, won.Load())
	assert.Equal(t, 1, o.Refreshes)
	assert.Equal(t, 63, o.ConsumedPresentations)
	assert.Len(t, o.Presentations, 64)
	assert.Len(t, o.Grants[0].LiveRefreshTokens, 1)
}

func TestProtectedAPI(t *testing.T) {
	t.Parallel()
	w, tokens := start(t, fakeprovider.Knobs{LifetimeSeconds: 60})
	call := func(token, path string) (int, string) {
		req, err := http.NewRequest(http.MethodPost, w.url+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	w.pass(time.Minute - 1)
	status, _ := call(tokens.AccessToken, "/api/contacts")
	assert.Equal(t, 200, status)
	w.pass(1)
	status, body := call(tokens.AccessToken, "/api/contacts")
	assert.Equal(t, 401, status)
	assert.Contains(t, body, "expired 0 second(s) ago.")
	assert.Contains(t, body, "EXPIRED_AUTHENTICATION")
	w.pass(5 * time.Minute)
	_, body = call(tokens.AccessToken, "/api/contacts")
	assert.Contains(t, body, "expired 5 minute(s) ago.")
	_, body = call("unknown", "/api/contacts")
	assert.Contains(t, body, "INVALID_AUTHENTICATION")
	assert.Len(t, w.Oracle().Grants[0].Writes, 1)
}

// TestAuthorizationCode walks RFC 6749 section 4.1 with PKCE (RFC 7636).
func TestAuthorizationCode(t *testing.T) {
	t.Parallel()
	w, _ := start(t, fakeprovider.Knobs{})
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	const challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	consent := func(redirect, answer string) (int, url.Values) {
		q := url.Values{"client_id": {"app"}, "redirect_uri": {redirect}, "response_type": {"code"}, "state": {"s"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}}
		status, _, h := w.post("/authorize?"+q.Encode(), url.Values{"answer": {answer}, "account": {"a2"}})
		back, err := url.Parse(h.Get("Location"))
		require.NoError(t, err)
		return status, back.Query()
	}
	exchange := func(code, verifier string) int {
		status, _, _ := w.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1/back"}, "code_verifier": {verifier}})
		return status
	}
	status, _ := consent("http://127.0.0.1/elsewhere", "allow")
	assert.Equal(t, 400, status, "nobody is sent to another place")
	_, back := consent("http://127.0.0.1/back", "deny")
	assert.Equal(t, "access_denied", back.Get("error"))
	_, back = consent("http://127.0.0.1/back", "allow")
	assert.Equal(t, "s", back.Get("state"))
	assert.Equal(t, 400, exchange(back.Get("code"), "wrong"))
	assert.Equal(t, 400, exchange(back.Get("code"), verifier), "a code is spent by a wrong verifier")
	_, back = consent("http://127.0.0.1/back", "allow")
	assert.Equal(t, 200, exchange(back.Get("code"), verifier))
	assert.Equal(t, 400, exchange(back.Get("code"), verifier), "replayed")
	for _, g := range w.Oracle().Grants {
		if g.Account == "a2" {
			assert.Empty(t, g.LiveRefreshTokens, "a replayed code kills what it gave")
		}
	}
}

func TestStateOutlivesTheServer(t *testing.T) {
	t.Parallel()
	config := fakeprovider.Config{StateFile: filepath.Join(t.TempDir(), "state.json"),
		Clients: map[string]fakeprovider.Client{"app": {Secrets: []string{"secret"}, Knobs: fakeprovider.Knobs{Rotate: true}}}}
	first, err := fakeprovider.New(config)
	require.NoError(t, err)
	tokens, err := first.Grant("app", "a1")
	require.NoError(t, err)
	second, err := fakeprovider.New(config)
	require.NoError(t, err)
	server := httptest.NewServer(second)
	defer server.Close()
	w := &world{T: t, Server: second, url: server.URL}
	w.rotated(tokens.RefreshToken)
	assert.Equal(t, 1, second.Oracle().Refreshes)
}

func FuzzTokenEndpoint(f *testing.F) {
	s, err := fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{"app": {Secrets: []string{"secret"}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/token", "grant_type=refresh_token&refresh_token=x&client_id=app&client_secret=secret")
	f.Add("/_control/knobs", `{"client":"app","knobs":{"rotate":true}}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		u, err := url.Parse("http://127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/" + strings.TrimLeft(path, "/")
		r := &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, Body: io.NopCloser(strings.NewReader(body))}
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r.WithContext(t.Context()))
		if rec.Code >= 500 {
			t.Fatalf("%d for %q", rec.Code, body)
		}
	})
}

func Example() {
	provider, err := fakeprovider.New(fakeprovider.Config{Clients: map[string]fakeprovider.Client{
		"app": {Secrets: []string{"secret"}, Knobs: fakeprovider.Knobs{Rotate: true}},
	}})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(provider)
	defer server.Close()
	tokens, err := provider.Grant("app", "account-1")
	if err != nil {
		panic(err)
	}
	for range 2 { // the second time the token is consumed
		resp, err := http.PostForm(server.URL+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.RefreshToken},
			"client_id": {"app"}, "client_secret": {"secret"}})
		if err != nil {
			panic(err)
		}
		fmt.Println(resp.StatusCode)
		if err := resp.Body.Close(); err != nil {
			panic(err)
		}
	}
	fmt.Println(provider.Oracle().ConsumedPresentations, "presentation of a spent token")
	// Output:
	// 200
	// 400
	// 1 presentation of a spent token
}

// TestConsent: the scopes that the user leaves selected, the issuer, the account in
// userinfo and ID token, and the knobs of a consent.
func TestConsent(t *testing.T) {
	t.Parallel()
	s, err := fakeprovider.New(fakeprovider.Config{Issuer: "https://issuer.example",
		Clients: map[string]fakeprovider.Client{"app": {Secrets: []string{"secret"}, RedirectURIs: []string{"http://127.0.0.1/back"}}}})
	require.NoError(t, err)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	w := &world{T: t, Server: s, url: server.URL}
	ask := "/authorize?" + url.Values{"client_id": {"app"}, "redirect_uri": {"http://127.0.0.1/back"}, "response_type": {"code"}, "scope": {"openid read write"}, "state": {"s"}}.Encode()
	answer := func(form url.Values) url.Values {
		t.Helper()
		status, body, header := w.post(ask, form)
		require.Equal(t, http.StatusSeeOther, status, body)
		back, err := url.Parse(header.Get("Location"))
		require.NoError(t, err)
		return back.Query()
	}
	back := answer(url.Values{"shown": {"yes"}, "answer": {"allow"}, "account": {"a1"}, "scope": {"openid", "read", "more"}})
	require.Equal(t, []string{"https://issuer.example", "s", "a1"}, []string{back.Get("iss"), back.Get("state"), back.Get("account")})
	exchange := func(code string) (int, fakeprovider.TokenReply) {
		status, body, _ := w.post("/token", url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1/back"}})
		var reply fakeprovider.TokenReply
		_ = json.Unmarshal([]byte(body), &reply) // a refusal has no token reply
		return status, reply
	}
	status, reply := exchange(back.Get("code"))
	require.Equal(t, 200, status)
	require.Equal(t, "openid read", reply.Scope, "what was not asked for is not given")
	require.Len(t, strings.Split(reply.IDToken, "."), 3)
	userinfo := func() (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/userinfo", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+reply.AccessToken)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, body := userinfo()
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"sub":"a1"}`, body)

	require.NoError(t, w.SetKnobs("app", "", fakeprovider.Knobs{InfoError: 1, ExchangeError: 1}))
	status, _ = userinfo()
	require.Equal(t, 503, status)
	code := answer(url.Values{"answer": {"allow"}, "account": {"a2"}}).Get("code")
	status, _ = exchange(code)
	require.Equal(t, 503, status)
	status, reply = exchange(code)
	require.Equal(t, 200, status, "no work was done")
	require.Equal(t, "openid read write", reply.Scope, "a form that shows no scopes gives all")
	require.Equal(t, "access_denied", answer(url.Values{"answer": {"deny"}}).Get("error"))
	require.NoError(t, w.Revoke("app", "a2"))
	status, _ = userinfo()
	require.Equal(t, 401, status)
}

// TestWrites: a write whose answer was lost is done. With an Idempotency-Key it is done
// once, also with another token and after a new consent.
func TestWrites(t *testing.T) {
	t.Parallel()
	w, tokens := start(t, fakeprovider.Knobs{WriteDropAfter: 1})
	write := func(key string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/api/orders", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		// A separate transport without connection reuse: on a reused connection the
		// transport would resend the request by itself.
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return 0
		}
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, 0, write("k1"), "the answer is lost")
	require.Equal(t, 200, write("k1"))
	var err error
	tokens, err = w.Grant("app", "a1", "read")
	require.NoError(t, err)
	require.Equal(t, 200, write("k1"))
	require.Equal(t, 200, write("k2"))
	require.Equal(t, 200, write(""))
	require.Equal(t, 200, write(""), "without a key it is another one")
	books := w.Oracle().Grants[0]
	require.Equal(t, []string{"POST /api/orders k1", "POST /api/orders k2", "POST /api/orders ", "POST /api/orders "}, books.Writes)
	require.Equal(t, 2, books.RepeatedWrites)
}
