package client

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRetryTable is the table of docs/client.md, row by row.
func TestRetryTable(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/client.md")
	require.NoError(t, err)
	rows := 0
	for name, c := range map[string]struct {
		methods string // all that the row covers
		url     string
		body    string
		once    bool // the body can be read only once
		key     string
		first   answer
		hook    func(Retry) (bool, error)

		sent      int
		refreshes int
		status    int // that the caller gets; 0: an error
	}{
		"`GET`, 401":                        {methods: "GET", first: expired, sent: 2, refreshes: 1, status: 200},
		"`HEAD`, `OPTIONS` or `TRACE`, 401": {methods: "HEAD OPTIONS TRACE", first: bare401, sent: 2, refreshes: 1, status: 200},
		"`DELETE`, 401":                     {methods: "DELETE", first: expired, sent: 2, refreshes: 1, status: 200},
		"`PUT` with a body that can be read again, 401":  {methods: "PUT", body: "body", first: expired, sent: 2, refreshes: 1, status: 200},
		"`PUT` with a body that cannot, 401":             {methods: "PUT", body: "body", once: true, first: expired, sent: 1, refreshes: 1, status: 401},
		"`POST` or `PATCH`, 401":                         {methods: "POST PATCH", body: "body", first: expired, sent: 1, refreshes: 1, status: 401},
		"`POST` or `PATCH` with an Idempotency-Key, 401": {methods: "POST PATCH", body: "body", key: "k", first: expired, sent: 2, refreshes: 1, status: 200},
		"`POST` that is known to be a read, 401":         {methods: "POST", url: searchURL, body: "body", first: expired, sent: 2, refreshes: 1, status: 200},
		"any, 401 `invalid_token`":                       {methods: "GET", first: rfc("invalid_token"), sent: 2, refreshes: 1, status: 200},
		"any, 401 that says nothing more":                {methods: "GET", first: bare401, sent: 2, refreshes: 1, status: 200},
		"any, 401 `insufficient_scope`":                  {methods: "GET HEAD PUT DELETE POST PATCH", first: rfc("insufficient_scope"), sent: 1, status: 401},
		"any, 401 that says so in the provider's words":  {methods: "GET HEAD PUT DELETE POST PATCH", first: scope, sent: 1, status: 401},
		"any, 403":       {methods: "GET HEAD PUT DELETE POST PATCH", first: answer{status: 403, body: scope.body}, sent: 1, status: 403},
		"any, 429":       {methods: "GET HEAD PUT DELETE POST PATCH", first: answer{status: 429}, sent: 1, status: 429},
		"any, 5xx":       {methods: "GET HEAD PUT DELETE POST PATCH", first: answer{status: 503}, sent: 1, status: 503},
		"any, no answer": {methods: "GET HEAD PUT DELETE POST PATCH", first: answer{err: errDown}, sent: 1},
		"`BeforeRetry` says yes to what the rules would not repeat": {methods: "POST", body: "body", first: expired, hook: says(true, nil), sent: 2, refreshes: 1, status: 200},
		"`BeforeRetry` says no":                               {methods: "GET", first: expired, hook: says(false, nil), sent: 1, refreshes: 1, status: 401},
		"`BeforeRetry` fails":                                 {methods: "GET", first: expired, hook: says(true, errDown), sent: 1, refreshes: 1},
		"`BeforeRetry`, but a body that cannot be read again": {methods: "POST", body: "body", once: true, first: expired, hook: says(true, nil), sent: 1, refreshes: 1, status: 401},
	} {
		rows++
		assert.Contains(t, string(doc), "| "+name+" |", "docs/client.md has the row")
		for method := range strings.FieldsSeq(c.methods) {
			t.Run(name+", "+method, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := setup(t)
					a := &api{answers: []answer{c.first, ok200}}
					transport := b.Transport(id)
					transport.Base, transport.BeforeRetry = a, c.hook
					var body io.Reader
					if c.body != "" {
						body = strings.NewReader(c.body)
					}
					if c.once {
						body = opaque{body}
					}
					req, err := http.NewRequest(method, cmp.Or(c.url, createURL), body)
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
						assert.Equal(t, c.body, a.bodies[i])
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
	}
	_, table, _ := strings.Cut(string(doc), "| request and answer |")
	table, _, _ = strings.Cut(table, "\n\n")
	assert.Equal(t, rows, strings.Count(table, "\n| "), "docs/client.md has no other row")
}

func says(again bool, err error) func(Retry) (bool, error) {
	return func(Retry) (bool, error) { return again, err }
}

// TestHookSees: the hook gets what it needs, but not the token.
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

// TestBrokenBodies: a truncated reply, and a body that cannot be rewound after all.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	breaksOff := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{errDown}))}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		transport := setup(t).Transport(id)
		transport.Base = breaksOff
		resp, err := (&http.Client{Transport: transport}).Post(createURL, "text/plain", strings.NewReader("body"))
		require.NoError(t, err)
		half, err := io.ReadAll(resp.Body)
		assert.Equal(t, "half", string(half))
		assert.ErrorIs(t, err, errDown, "the caller meets what broke it")
	})
	synctest.Test(t, func(t *testing.T) {
		transport := setup(t).Transport(id)
		transport.Base = breaksOff
		u, err := url.Parse(createURL)
		require.NoError(t, err)
		req := &http.Request{Method: http.MethodPut, URL: u, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("body")),
			GetBody: func() (io.ReadCloser, error) { return nil, errors.New("gone") }}
		_, err = transport.RoundTrip(req)
		assert.ErrorContains(t, err, "gone")
	})
}

// TestLong401: a body longer than the client examines is read to its end, so that its
// connection can be used again, and the caller gets all of it.
func TestLong401(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		long := answer{status: 401, body: strings.Repeat("x", maxPeeked+1000)}
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
