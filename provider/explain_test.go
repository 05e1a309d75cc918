package provider

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fixtures"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// member returns the explanation of what stands at a path.
func (x Explanation) member(path string) Member {
	for _, m := range x.Members {
		if m.Path == path {
			return m
		}
	}
	return Member{}
}

func zipped(t *testing.T, s string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write([]byte(s))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.String()
}

// TestExplain: each part of a reply is explained as it is read, and shows no token.
func TestExplain(t *testing.T) {
	t.Parallel()
	const access, refresh = "planted-access-token-4711", "planted-refresh-token-0815"
	plain := `{"access_token":"` + access + `","refresh_token":"` + refresh + `","expires_in":3600000,"token_type":"bot","scope":"a b","hub":{"id":7},"extra":"word"}`
	e := Entry{DefaultLifetime: time.Hour, Account: AccountSource{From: AccountFromReply, Name: "hub.id"},
		Spellings: []Spelling{{Code: "other", Outcome: perennial.OutcomeBusy}, {HTTPStatus: 418, Contains: "gone", Outcome: perennial.OutcomeRevoked}}}
	nested := e
	nested.MembersAt = map[string][]string{"access_token": {"keys.now"}, "expires_in": {"keys.life"}}
	nested.LifetimeUnit = time.Minute
	for name, c := range map[string]struct {
		e       Entry
		saved   string
		form    string
		outcome perennial.Outcome
		because string
		reads   map[string]string
	}{
		"plain": {e, plain, "JSON", perennial.OutcomeRefreshed, "a success status, and an access token", map[string]string{
			"access_token": "the access token", "refresh_token": "the refresh token", "expires_in": "life of the access token: 1h, in units of 1ms",
			"token_type": "the type: sent as Bearer", "scope": "2 scopes", "hub.id": "the account's id", "extra": ""}},
		"compressed": {e, zipped(t, plain), "JSON, compressed or UTF-16", perennial.OutcomeRefreshed, "a success status, and an access token", map[string]string{"access_token": "the access token"}},
		"guarded":    {e, ")]}'\n" + plain, "JSON, behind a guard or a byte-order mark", perennial.OutcomeRefreshed, "a success status, and an access token", nil},
		"cut":        {e, plain[:len(plain)-30], "JSON, it breaks off", perennial.OutcomeRefreshed, "a success status, and an access token", nil},
		"a form": {e, "access_token=" + access + "&expires_in=60&x=y", "a form, or a text with a token reply in it", perennial.OutcomeRefreshed, "a success status, and an access token",
			map[string]string{"expires_in": "life of the access token: 1m, in units of 1s", "x": ""}},
		"under other names": {nested, `{"keys":{"now":"` + access + `","life":60}}`, "JSON", perennial.OutcomeRefreshed, "a success status, and an access token",
			map[string]string{"keys.now": "the access token", "keys.life": "life of the access token: 1h, in units of 1m"}},
		"two lifetimes": {e, `{"access_token":"` + access + `","expires_in":3600,"expires_in_sec":1800}`, "JSON", perennial.OutcomeRefreshed, "a success status, and an access token",
			map[string]string{"expires_in": "life of the access token: 1h, in units of 1s; another member says 30m, which counts", "expires_in_sec": "life of the access token: 30m, in units of 1s"}},
		"a lifetime that is none": {e, `{"access_token":"` + access + `","expires_in":"soon"}`, "JSON", perennial.OutcomeRefreshed, "a success status, and an access token",
			map[string]string{"expires_in": "life of the access token: it cannot be read, and does not count"}},
		"a refusal by the standard": {e, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\r\n" + `{"error":"invalid_grant","error_description":"used ` + "\u202e" + `up"}`, "JSON", perennial.OutcomeRevoked,
			"the words that mean invalid_grant at every provider", map[string]string{"error": "an error code", "error_description": "what the error says"}},
		"a refusal by a spelling": {e, "HTTP/2 418\ncontent-type: text/plain\n\n" + `{"message":"It is Gone"}`, "JSON", perennial.OutcomeRevoked,
			"spelling 2 of the description: {http_status: 418, contains: gone, outcome: revoked}", map[string]string{"message": "what the error says"}},
		"a limit":             {e, "HTTP/1.1 429 Too Many\nRetry-After: 7\n\n{}", "JSON", perennial.OutcomeRateLimited, "the status 429", nil},
		"an unclear refusal":  {e, "HTTP/1.1 403 No\n\n" + `{"error":"nope"}`, "JSON", perennial.OutcomeRejected, "the status alone: no spelling and no standard has these words", map[string]string{"error": "an error code"}},
		"a page":              {e, "HTTP/1.1 502 Bad\n\n<html>down</html>", "a page", perennial.OutcomeUnknown, "the status alone: no spelling and no standard has these words", nil},
		"nothing":             {e, "", "nothing that can be read", perennial.OutcomeUnknown, "the status alone: no spelling and no standard has these words", nil},
		"tokens in a refusal": {e, "HTTP/1.1 400 No\n\n" + `{"error":"invalid_grant","access_token":"` + access + `","error_description":"not ` + access + `"}`, "JSON", perennial.OutcomeRevoked, "the words that mean invalid_grant at every provider", nil},
	} {
		x := ExplainSaved([]byte(c.saved), App{Name: "app", Provider: c.e}, 0, time.Now())
		assert.Equal(t, c.form, x.Form, name)
		assert.Equal(t, c.outcome, x.Outcome, name)
		assert.Equal(t, c.because, x.Because, name)
		for path, want := range c.reads {
			assert.Equal(t, want, x.member(path).Read, "%s: %s", name, path)
			assert.NotEmpty(t, x.member(path).Path, "%s: %s", name, path)
		}
		shown := fmt.Sprintf("%+v", x)
		assert.NotContains(t, shown, access, name)
		assert.NotContains(t, shown, refresh, name)
		assert.NotContains(t, shown, "\u202e", name)
	}
	x := ExplainSaved([]byte(plain), App{Name: "app", Provider: e}, 0, time.Now())
	assert.Equal(t, fmt.Sprintf("%d bytes, sha256 %.8s...", len(access), perennial.NewSecret(access).Digest()), x.member("access_token").Value)
	assert.Equal(t, "7", x.Account)
	assert.Equal(t, "word", x.member("extra").Value)
	odd := ExplainSaved([]byte(`{"access_token":"`+access+`","apiKey":"planted-1","session":{"id_jwt":"planted-2"},"access":{"value":"planted-3"},"code":"planted-4","`+access+`":1}`), App{Name: "app", Provider: e}, 0, time.Now())
	assert.NotContains(t, fmt.Sprintf("%+v", odd), "planted-")
	assert.Equal(t, "9 bytes", odd.member("apiKey").Value)
	assert.Equal(t, Span("7s"), ExplainSaved([]byte("HTTP/1.1 429 Too Many\nRetry-After: 7\n\n{}"), App{}, 0, time.Now()).RetryAfter)
	assert.Equal(t, perennial.OutcomeRevoked, ExplainSaved([]byte(`{"error":"invalid_grant"}`), App{}, 400, time.Now()).Outcome)
}

// TestExplainFixtures: the explanation of each reply of the sources has the outcome that
// they say, and explains each value.
func TestExplainFixtures(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		e, _ := Lookup(name)
		f, err := fixtures.Read("testdata", name)
		require.NoError(t, err)
		for _, r := range f.Replies {
			if e.CustomersClient() {
				continue // a refusal of the customer's own client is judged otherwise once it is known whose it is
			}
			saved := fmt.Sprintf("HTTP/1.1 %d x\n", r.Status)
			for header, value := range r.Headers {
				saved += header + ": " + value + "\n"
			}
			x := ExplainSaved([]byte(saved+"\n"+r.Body), App{Name: name, Provider: e}, 0, time.Now())
			assert.Equal(t, r.Outcome, x.Outcome, "%s: %s", name, r.Name)
			assert.NotEmpty(t, x.Because)
			if r.Outcome == perennial.OutcomeRefreshed {
				read := ""
				for _, m := range x.Members {
					read += m.Read + "\n"
				}
				assert.Contains(t, read, "the access token", "%s: %s", name, r.Name)
				if r.Lifetime != "" {
					assert.Contains(t, read, "life of the access token: "+string(spanOf(Span(r.Lifetime).Duration())), "%s: %s", name, r.Name)
				}
			}
		}
	}
}

// TestExplained: a client explains each reply that comes, and nothing that is not sent.
func TestExplained(t *testing.T) {
	t.Parallel()
	var seen []Explanation
	client := NewClient(ClientConfig{Explained: func(x Explanation) { seen = append(seen, x) }, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		return answered(req, `{"access_token":"planted-access-token","refresh_token":"planted-refresh-token","echo":"planted-secret, planted-old-token, planted-code"}`), nil
	})})
	app := App{Name: "app", ClientID: "id", Provider: Entry{Name: "p", TokenURL: "https://p.example/t", AuthStyle: oauth2.AuthStyleInHeader}}
	client.Refresh(t.Context(), app, perennial.NewSecret("planted-secret"), perennial.NewSecret("planted-old-token"), func(context.Context) error { return nil })
	client.Exchange(t.Context(), app, perennial.NewSecret("planted-secret"), AuthorizationCode{Code: perennial.NewSecret("planted-code")})
	require.Len(t, seen, 2)
	assert.NotContains(t, fmt.Sprintf("%+v", seen), "planted")
}

func answered(req *http.Request, body string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func FuzzExplainSaved(f *testing.F) {
	f.Add([]byte(`{"access_token":"aaaaaaaaaa","expires_in":"60"}`), "data.token")
	f.Add([]byte("HTTP/2 400\nx: y\n\n{\"error\":\"invalid_grant\"}"), "")
	f.Add([]byte("HTTP/1.1 200 OK\r\nDate: Sat, 28 Nov 2026 10:00:00 GMT\r\n\r\naccess_token=bbbbbbbbbbbb&scope=a"), "*.x")
	f.Fuzz(func(t *testing.T, raw []byte, path string) {
		e := Entry{TokensUnder: path, MembersAt: map[string][]string{"scope": {path}}, Account: AccountSource{From: AccountFromReply, Name: path}}
		x := ExplainSaved(raw, App{Provider: e}, 0, time.Now())
		shown, err := json.Marshal(x)
		require.NoError(t, err)
		_, _, body := splitReply(raw)
		tokens := readReply(body, e, time.Now()).tokens
		for _, token := range []perennial.Secret{tokens.AccessToken, tokens.RefreshToken} {
			if s := token.Reveal(); len(s) >= 24 && !strings.ContainsAny(s, `"\`) { // a shorter one may be a word of ours
				require.NotContains(t, string(shown), s)
			}
		}
	})
}
