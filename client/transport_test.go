package client

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/perennial-oauth/perennial/client/words"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	ok200   = answer{status: 200, body: "fine"}
	expired = answer{status: 401, body: `{"status":"error","message":"The OAuth token used to make this call expired 0 second(s) ago.","category":"EXPIRED_AUTHENTICATION"}`}
	scope   = answer{status: 401, body: `{"category":"MISSING_SCOPES"}`}
	rfc     = func(code string) answer {
		return answer{status: 401, header: http.Header{"Www-Authenticate": {`Bearer realm="api", error="` + code + `"`}}}
	}
	bare401 = answer{status: 401, body: "no"}
)

const (
	searchURL = "https://api.example/crm/v3/objects/contacts/search?q=planted-query"
	createURL = "https://api.example/crm/v3/objects/contacts?q=planted-query"
)

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
				assert.Equal(t, words.CodeInvalid, words.CodeOf(err), name)
				assert.NotContains(t, err.Error(), "password", name)
				assert.NotContains(t, err.Error(), "mine", name)
			}
			assert.True(t, body.closed, name)
		}
	})
}

// TestRedirects: the token goes only to the host that the caller named.
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

// TestAuthorizationIsBearer: a provider's token_type is never used as the scheme,
// however the header is made.
func TestAuthorizationIsBearer(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"", "bearer", "Bearer", "BEARER", "bot", "user", "mac", "basic", "DPoP", "\r\nX-Evil: 1"} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			b.backend.change(func(h *TokenState) { h.TokenType = stored })
			a := &api{answers: []answer{ok200}}
			transport := b.Transport(id)
			transport.Base = a
			_, err := b.do(transport)
			require.NoError(t, err)
			assert.Equal(t, "Bearer "+secret+"-1", a.got[0].Header.Get("Authorization"), stored)
			assert.Equal(t, "Bearer", b.get().Type, stored)
			token, err := b.TokenSource(t.Context(), id).Token()
			require.NoError(t, err)
			assert.Equal(t, "Bearer", token.TokenType, stored)
		})
	}
}
