package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answer is one reply of the API.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// api is a RoundTripper that answers as told; the last answer stays.
type api struct {
	mu      sync.Mutex
	answers []answer
	got     []*http.Request
	bodies  []string
	open    int // bodies of replies that nobody closed
	unread  int // bodies that were closed before their end
}

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(raw)
		_ = r.Body.Close() // a test's own body
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got, a.bodies = append(a.got, r), append(a.bodies, body)
	out := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	if out.err != nil {
		return nil, out.err
	}
	if out.header == nil {
		out.header = http.Header{}
	}
	a.open++
	return &http.Response{StatusCode: out.status, Header: out.header, Body: &replyBody{api: a, Reader: strings.NewReader(out.body)}, Request: r, ProtoMajor: 1}, nil
}

type replyBody struct {
	*strings.Reader
	api  *api
	once sync.Once
}

func (b *replyBody) Close() error {
	b.once.Do(func() {
		b.api.mu.Lock()
		defer b.api.mu.Unlock()
		b.api.open--
		if b.Len() > 0 {
			b.api.unread++
		}
	})
	return nil
}

var (
	ok200   = answer{status: 200, body: "fine"}
	expired = answer{status: 401, body: `{"status":"error","message":"The OAuth token used to make this call expired 0 second(s) ago.","category":"EXPIRED_AUTHENTICATION"}`}
	scope   = answer{status: 401, body: `{"category":"MISSING_SCOPES"}`}
	rfc     = func(code string) answer {
		return answer{status: 401, header: http.Header{"Www-Authenticate": {`Bearer realm="api", error="` + code + `"`}}}
	}
	bare401 = answer{status: 401, body: "no"}
)

// opaque is a body that net/http cannot rewind.
type opaque struct{ io.Reader }

const (
	searchURL = "https://api.example/crm/v3/objects/contacts/search?q=planted-query"
	createURL = "https://api.example/crm/v3/objects/contacts?q=planted-query"
)

// TestRetryTable is the table of docs/client.md, row by row.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/client.md")
	require.NoError(t, err)
	rows := 0
	for name, c := range map[string]struct {
		method, url string
		body        io.Reader
		key         string
		first       answer
		hook        func(Retry) (bool, error)

		sent      int
		refreshes int
		status    int // of what the caller gets; 0: an error
	}{
		"`GET`, 401":                        {method: "GET", first: expired, sent: 2, refreshes: 1, status: 200},
		"`HEAD`, `OPTIONS` or `TRACE`, 401": {method: "HEAD", first: bare401, sent: 2, refreshes: 1, status: 200},
		"`DELETE`, 401":                     {method: "DELETE", first: expired, sent: 2, refreshes: 1, status: 200},
		"`PUT` with a body that can be read again, 401":  {method: "PUT", body: strings.NewReader("body"), first: expired, sent: 2, refreshes: 1, status: 200},
		"`PUT` with a body that cannot, 401":             {method: "PUT", body: opaque{strings.NewReader("body")}, first: expired, sent: 1, refreshes: 1, status: 401},
		"`POST` or `PATCH`, 401":                         {method: "POST", body: strings.NewReader("body"), first: expired, sent: 1, refreshes: 1, status: 401},
		"`POST` or `PATCH` with an Idempotency-Key, 401": {method: "PATCH", body: strings.NewReader("body"), key: "k", first: expired, sent: 2, refreshes: 1, status: 200},
		"`POST` that is known to be a read, 401":         {method: "POST", url: searchURL, body: strings.NewReader("body"), first: expired, sent: 2, refreshes: 1, status: 200},
		"any, 401 `invalid_token`":                       {method: "GET", first: rfc("invalid_token"), sent: 2, refreshes: 1, status: 200},
		"any, 401 that says nothing more":                {method: "GET", first: bare401, sent: 2, refreshes: 1, status: 200},
		"any, 401 `insufficient_scope`":                  {method: "GET", first: rfc("insufficient_scope"), sent: 1, status: 401},
		"any, 401 that says so in the provider's words":  {method: "GET", first: scope, sent: 1, status: 401},
		"any, 403":       {method: "GET", first: answer{status: 403, body: scope.body}, sent: 1, status: 403},
		"any, 429":       {method: "GET", first: answer{status: 429}, sent: 1, status: 429},
		"any, 5xx":       {method: "GET", first: answer{status: 503}, sent: 1, status: 503},
		"any, no answer": {method: "GET", first: answer{err: errDown}, sent: 1},
		"`BeforeRetry` says yes to what the rules would not repeat": {method: "POST", body: strings.NewReader("body"), first: expired, hook: says(true, nil), sent: 2, refreshes: 1, status: 200},
		"`BeforeRetry` says no":                               {method: "GET", first: expired, hook: says(false, nil), sent: 1, refreshes: 1, status: 401},
		"`BeforeRetry` fails":                                 {method: "GET", first: expired, hook: says(true, errDown), sent: 1, refreshes: 1},
		"`BeforeRetry`, but a body that cannot be read again": {method: "POST", body: opaque{strings.NewReader("body")}, first: expired, hook: says(true, nil), sent: 1, refreshes: 1, status: 401},
	} {
		rows++
		assert.Contains(t, string(doc), "| "+name+" |", "docs/client.md has the row")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				a := &api{answers: []answer{c.first, ok200}}
				transport := b.Transport(id)
				transport.Base, transport.BeforeRetry = a, c.hook
				if c.url == "" {
					c.url = createURL
				}
				req, err := http.NewRequest(c.method, c.url, c.body)
				require.NoError(t, err)
				if c.key != "" {
					req.Header.Set("Idempotency-Key", c.key)
				}
				resp, err := (&http.Client{Transport: transport}).Do(req)
				synctest.Wait()
				if c.status == 0 {
					require.ErrorIs(t, err, errDown)
				} else {
					require.NoError(t, err)
					assert.Equal(t, c.status, resp.StatusCode)
					assert.Empty(t, resp.Request.Header.Get("Authorization"), "what the caller may log holds no token")
					whole, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					if c.status == c.first.status {
						assert.Equal(t, c.first.body, string(whole), "whole, though it was looked into")
					}
					require.NoError(t, resp.Body.Close())
				}
				assert.Empty(t, req.Header.Get("Authorization"), "the caller's request is not changed")
				assert.Len(t, a.got, c.sent)
				assert.Equal(t, c.refreshes, b.backend.refreshes)
				assert.Zero(t, a.open, "every body is closed")
				assert.Zero(t, a.unread, "and read to its end")
				for i, r := range a.got {
					assert.Equal(t, fmt.Sprintf("Bearer %s-%d", secret, i+1), r.Header.Get("Authorization"))
					if c.body != nil {
						assert.Equal(t, "body", a.bodies[i])
					}
				}
				refused := 0
				if c.first.status == 401 {
					refused = 1
				}
				assert.Equal(t, refused, b.backend.unauthorized, "every 401 is noted, and nothing else")
				assert.Len(t, b.seen.refused, refused)
			})
		})
	}
	_, table, _ := strings.Cut(string(doc), "| request and answer |")
	table, _, _ = strings.Cut(table, "\n\n")
	assert.Equal(t, rows, strings.Count(table, "\n| "), "docs/client.md has no other row")
}

func says(again bool, err error) func(Retry) (bool, error) {
	return func(Retry) (bool, error) { return again, err }
}

// do sends a GET and returns its status.
func (b *bundle) do(t http.RoundTripper) (int, error) {
	resp, err := (&http.Client{Transport: t}).Get(createURL)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestSecond401: a fresh token is refused too. That is no reconnect; and the next
// such request does not refresh again.
func TestSecond401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.backend.skew = 7 * time.Second
		a := &api{answers: []answer{bare401}}
		transport := b.Transport(id)
		transport.Base = a
		_, err := b.do(transport)
		var still *ErrStillUnauthorized
		require.ErrorAs(t, err, &still)
		assert.Equal(t, &ErrStillUnauthorized{Connection: id, Account: "portal-7", Method: "GET",
			Endpoint: "https://api.example/crm/v3/objects/contacts", Generation: 2, ClockOffset: 7 * time.Second}, still)
		assert.NotContains(t, still.Error(), "planted")
		assert.Len(t, a.got, 2)
		synctest.Wait()
		assert.Equal(t, 2, b.backend.unauthorized)
		assert.Equal(t, []Refused{{App: "app", Means: provider.UnauthorizedUnclear, Second: true}, {App: "app", Means: provider.UnauthorizedUnclear, Refreshed: true, Retried: true}}, b.seen.refused)

		for range 10 {
			_, err = b.do(transport)
			require.ErrorAs(t, err, &still)
		}
		post, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, post.Body.Close())
		synctest.Wait()
		assert.Equal(t, 1, b.backend.refreshes, "one 401 in a minute causes a refresh")
		time.Sleep(time.Minute)
		_, err = b.do(transport)
		require.ErrorAs(t, err, &still)
		assert.Equal(t, 2, b.backend.refreshes)
		assert.Zero(t, a.open)
	})
}

// TestStaleToken: the generation has moved, so nothing is refreshed.
func TestStaleToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.token(30 * time.Minute)
		transport := b.Transport(id)
		a := &api{answers: []answer{expired, ok200}}
		transport.Base = a
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Zero(t, b.backend.refreshes)
		assert.Equal(t, "Bearer "+secret+"-2", a.got[1].Header.Get("Authorization"))
		assert.Equal(t, []Refused{{App: "app", Means: provider.UnauthorizedToken, Stale: true, Retried: true}}, b.seen.refused)
	})
}

// TestManyStale: two hundred requests with an old token cause one refresh.
func TestManyStale(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.takes = time.Second
		transport := b.Transport(id)
		transport.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			status := 200
			if r.Header.Get("Authorization") == "Bearer "+secret+"-1" {
				status = 401
			}
			return &http.Response{StatusCode: status, Body: http.NoBody, Header: http.Header{}}, nil
		})
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				status, err := b.do(transport)
				assert.NoError(t, err)
				assert.Equal(t, 200, status)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, b.backend.refreshes)
		refreshed := 0
		for _, r := range b.seen.refused {
			if r.Refreshed {
				refreshed++
			}
		}
		assert.Equal(t, 1, refreshed, "counted once")
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestNothingNewer: a 401, and no newer token to be had.
func TestNothingNewer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		transport := b.Transport(id)
		a := &api{answers: []answer{expired}}
		transport.Base = a
		b.backend.refreshErr = errDown
		_, err := b.do(transport)
		assert.ErrorAs(t, err, new(*ErrUnavailable))
		assert.ErrorIs(t, err, errDown)
		b.backend.change(func(h *Held) { h.Status, h.Reason = perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant })
		time.Sleep(time.Minute)
		_, err = b.do(transport)
		assert.ErrorAs(t, err, new(*ErrReconnectRequired), "what was left of the grant is not good any more")
		assert.Len(t, a.got, 2, "nothing was sent a second time")
		assert.Zero(t, a.open)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.backend.change(func(h *Held) {
			h.Status = perennial.StatusActive
			b.backend.refreshErr = nil
			b.backend.takes = time.Hour
		})
		time.Sleep(time.Minute)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, createURL, nil)
		require.NoError(t, err)
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = (&http.Client{Transport: transport}).Do(req.WithContext(ctx))
		assert.ErrorIs(t, err, context.DeadlineExceeded, "the caller's context ends its waiting")
	})
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for name, c := range map[string]struct {
			url, authorization string
			allow              bool
			sent               int
		}{
			"carries Authorization":   {url: createURL, authorization: "Bearer mine"},
			"carries an empty one":    {url: createURL, authorization: " "},
			"credentials in its URL":  {url: "https://user:password@api.example/"},
			"without TLS":             {url: "http://api.example/"},
			"without TLS, as allowed": {url: "http://api.example/", allow: true, sent: 1},
			"to this machine":         {url: "http://127.0.0.1:80/", sent: 1},
		} {
			a := &api{answers: []answer{ok200}}
			b.AllowHTTP = c.allow
			transport := b.Transport(id)
			transport.Base = a
			req, err := http.NewRequest(http.MethodPost, c.url, nil)
			require.NoError(t, err)
			body := &closed{Reader: bytes.NewReader([]byte("body"))}
			req.Body = body
			if c.authorization != "" {
				req.Header["Authorization"] = []string{strings.TrimSpace(c.authorization)}
			}
			_, err = transport.RoundTrip(req)
			assert.Len(t, a.got, c.sent, name)
			if c.sent == 0 {
				assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
				assert.NotContains(t, err.Error(), "password", name)
				assert.NotContains(t, err.Error(), "mine", name)
			}
			assert.True(t, body.closed, name)
		}
	})
}

type closed struct {
	*bytes.Reader
	closed bool
}

func (c *closed) Close() error { c.closed = true; return nil }

// TestRedirects: the token stays with the host that the caller named.
func TestRedirects(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		hops []string
		want []bool
	}{
		"on the same host":         {[]string{"https://api.example/2"}, []bool{true, true}},
		"to another host":          {[]string{"https://other.example/"}, []bool{true, false}},
		"to a name below":          {[]string{"https://a.api.example/"}, []bool{true, false}},
		"to another port":          {[]string{"https://api.example:444/"}, []bool{true, false}},
		"away from TLS":            {[]string{"http://api.example/"}, []bool{true, false}},
		"to another host and back": {[]string{"https://other.example/", "https://api.example/delete"}, []bool{true, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				a := &api{}
				for _, hop := range c.hops {
					a.answers = append(a.answers, answer{status: 307, header: http.Header{"Location": {hop}}})
				}
				a.answers = append(a.answers, ok200)
				transport := b.Transport(id)
				transport.Base = a
				_, err := b.do(transport)
				require.NoError(t, err)
				require.Len(t, a.got, len(c.want))
				for i, with := range c.want {
					assert.Equal(t, with, a.got[i].Header.Get("Authorization") != "", a.got[i].URL)
				}
			})
		})
	}
}

// TestHookSees: the hook is told what it needs, and not the token.
func TestHookSees(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{expired, ok200}}
		var told Retry
		transport.BeforeRetry = func(r Retry) (bool, error) { told = r; return false, nil }
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 401, status)
		assert.Equal(t, id, told.Connection)
		assert.EqualValues(t, 2, told.Generation)
		assert.True(t, told.ByRule)
		assert.Empty(t, told.Request.Header.Get("Authorization"))
	})
}

// TestBrokenBodies: a reply that breaks off, and a body that cannot be rewound
// after all.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		transport := b.Transport(id)
		transport.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{errDown}))}, nil
		})
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		half, err := io.ReadAll(resp.Body)
		assert.Equal(t, "half", string(half))
		assert.ErrorIs(t, err, errDown, "the caller meets what broke it")

		u, err := url.Parse(createURL)
		require.NoError(t, err)
		req := &http.Request{Method: http.MethodPut, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("body")),
			GetBody: func() (io.ReadCloser, error) { return nil, errors.New("gone") }}
		_, err = transport.RoundTrip(req)
		assert.ErrorContains(t, err, "gone")
	})
}

// TestStaleAndSecond: a token that others had renewed is refused too. That was a
// second 401 as well, and the next one causes no refresh.
func TestStaleAndSecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.token(30 * time.Minute)
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{bare401}}
		for range 3 {
			_, err := b.do(transport)
			require.ErrorAs(t, err, new(*ErrStillUnauthorized))
		}
		assert.Zero(t, b.backend.refreshes)
	})
}

// TestPausedMeanwhile: what a 401 brought to light ends what memory says.
func TestPausedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		b.backend.change(func(h *Held) { h.Status = perennial.StatusPaused })
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{expired}}
		_, err := b.do(transport)
		assert.ErrorAs(t, err, new(*ErrPaused))
		assert.ErrorAs(t, b.fails(), new(*ErrPaused))
	})
}

// TestStaleWrite is not sent again; nothing is refreshed for the next one.
func TestStaleWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.get()
		transport := b.Transport(id)
		transport.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
			b.backend.token(30 * time.Minute) // while it is on its way
			time.Sleep(time.Minute)
			b.get()
			return &http.Response{StatusCode: 401, Body: http.NoBody, Header: http.Header{}}, nil
		})
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		synctest.Wait()
		assert.Zero(t, b.backend.refreshes)
		assert.Equal(t, []Refused{{App: "app", Means: provider.UnauthorizedUnclear, Stale: true}}, b.seen.refused)
	})
}

// TestRenewedThenRefused: that a refresh was just made for its time is no reason
// not to believe a 401.
func TestRenewedThenRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		time.Sleep(30 * time.Minute)
		assert.EqualValues(t, 2, b.get().Generation)
		transport := b.Transport(id)
		transport.Base = &api{answers: []answer{expired, ok200}}
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.EqualValues(t, 3, b.get().Generation)
	})
}

// TestLong401: a body beyond what is looked into is read on, so that its
// connection can be used again, and reaches a caller whole.
func TestLong401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		long := answer{status: 401, body: strings.Repeat("x", mostPeeked+1000)}
		a := &api{answers: []answer{long, ok200, long}}
		transport := b.Transport(id)
		transport.Base = a
		status, err := b.do(transport)
		require.NoError(t, err)
		assert.Equal(t, 200, status)
		assert.Equal(t, 1, a.unread, "only what the caller itself left")
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		whole, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, long.body, string(whole))
		require.NoError(t, resp.Body.Close())
	})
}
