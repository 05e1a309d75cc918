package provider

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func entry(t testing.TB, name string) Entry {
	t.Helper()
	e, ok := Lookup(name)
	require.True(t, ok, name)
	return e
}

// TestClassify is the one table of outcomes (RFC 6749 section 5.2 and each provider's
// own spelling).
func TestClassify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		provider string
		status   int
		body     string
		want     perennial.Outcome
		code     string
	}{
		{"QuickBooks' refusal", "quickbooks", 400, `{ "error": "invalid_grant", "error_description": "Token has been expired or revoked."}`, perennial.OutcomeRevoked, "invalid_grant"},
		{"HubSpot's refusal", "hubspot", 400, `{"error":"invalid_grant","error_description":"bad","status":"BAD_REFRESH_TOKEN"}`, perennial.OutcomeRevoked, "BAD_REFRESH_TOKEN"},
		{"HubSpot's older refusal", "hubspot", 400, `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}`, perennial.OutcomeRevoked, "BAD_REFRESH_TOKEN"},
		{"HubSpot's token reply", "hubspot", 200, `{"refresh_token":"6f18f21e-a743-4509-b7fd-1a5e632fffa1","access_token":"CN2zlYnmLBICAQIYgZXFLyCWp1Yoy","expires_in":1800}`, perennial.OutcomeRefreshed, ""},
		{"HubSpot's expired access token is no refusal of the grant", "hubspot", 401, `{"status":"error","message":"The OAuth token used to make this call expired 5 minute(s) ago.","category":"EXPIRED_AUTHENTICATION"}`, perennial.OutcomeRejected, "EXPIRED_AUTHENTICATION"},
		{"HubSpot's limit", "hubspot", 429, `{"status":"error","category":"RATE_LIMITS"}`, perennial.OutcomeRateLimited, "RATE_LIMITS"},
		{"invalid_grant with 401", "generic", 401, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked, "invalid_grant"},
		{"invalid_grant with 403", "generic", 403, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked, "invalid_grant"},
		{"invalid_grant in a 200", "generic", 200, `{"error":"invalid_grant"}`, perennial.OutcomeRevoked, "invalid_grant"},
		{"wrong client", "quickbooks", 401, `{"error":"invalid_client"}`, perennial.OutcomeMisconfigured, "invalid_client"},
		{"client not allowed", "generic", 403, `{"error":"unauthorized_client"}`, perennial.OutcomeMisconfigured, "unauthorized_client"},
		{"grant type", "generic", 400, `{"error":"unsupported_grant_type"}`, perennial.OutcomeMisconfigured, "unsupported_grant_type"},
		{"scope", "generic", 400, `{"error":"invalid_scope"}`, perennial.OutcomeMisconfigured, "invalid_scope"},
		{"no such endpoint", "generic", 404, `<html>not found</html>`, perennial.OutcomeMisconfigured, "endpoint_not_found"},
		{"moved", "generic", 302, ``, perennial.OutcomeMisconfigured, "redirected"},
		{"limit", "generic", 429, ``, perennial.OutcomeRateLimited, "too_many_requests"},
		{"limit that says invalid_grant", "generic", 429, `{"error":"invalid_grant"}`, perennial.OutcomeRateLimited, "invalid_grant"},
		{"bad request", "generic", 400, `{"error":"invalid_request"}`, perennial.OutcomeRejected, "invalid_request"},
		{"a 400 without words", "generic", 400, ``, perennial.OutcomeRejected, "http_400"},
		{"a 403 without words", "generic", 403, `<html>forbidden</html>`, perennial.OutcomeRejected, "http_403"},
		{"any error in a 200", "generic", 200, `{"ok":false,"error":"fatal_error"}`, perennial.OutcomeRejected, "fatal_error"},
		{"server error", "generic", 500, `{"error":"invalid_grant"}`, perennial.OutcomeUnknown, "http_500"},
		{"proxy", "generic", 502, `<html>Bad Gateway</html>`, perennial.OutcomeUnknown, "http_502"},
		{"proxy timeout", "generic", 504, ``, perennial.OutcomeUnknown, "http_504"},
		{"HTML at 200", "generic", 200, `<html><body>Maintenance</body></html>`, perennial.OutcomeUnknown, "malformed_reply"},
		{"JSON cut off at 200", "generic", 200, `{"access_token":"abc`, perennial.OutcomeUnknown, "malformed_reply"},
		{"nothing at 200", "generic", 200, ``, perennial.OutcomeUnknown, "malformed_reply"},
		{"a 200 without a token", "generic", 200, `{"token_type":"bearer"}`, perennial.OutcomeUnknown, "malformed_reply"},
		{"a token beside an error", "generic", 200, `{"access_token":"abc","error":"invalid_grant"}`, perennial.OutcomeRefreshed, ""},
		{"a form", "generic", 200, `access_token=abc&expires_in=60`, perennial.OutcomeRefreshed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := entry(t, c.provider)
			read := readReply([]byte(c.body), e, time.Now())
			ev := read.evidence(c.status, nil)
			ev.accessToken = !read.tokens.AccessToken.IsZero()
			got := classify(e, ev)
			assert.Equal(t, c.want, got.outcome)
			assert.Equal(t, c.code, got.code)
		})
	}
	unsent := classify(Entry{}, evidence{err: errors.New("refused"), transport: "connection_refused"})
	assert.Equal(t, perennial.OutcomeUnavailable, unsent.outcome)
	lost := classify(Entry{}, evidence{err: errors.New("reset"), transport: "connection_lost", sent: true})
	assert.Equal(t, perennial.OutcomeUnknown, lost.outcome)
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	names := Names()
	assert.IsIncreasing(t, names)
	for _, name := range names {
		if name != "generic" { // the configuration completes it
			assert.NoError(t, entry(t, name).placed().Validate())
		}
		assert.NotEmpty(t, entry(t, name).ReplaySource)
	}
	_, ok := Lookup("nobody")
	assert.False(t, ok)
}

func TestReadReply(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for raw, want := range map[string]time.Duration{
		`1800`: 30 * time.Minute, `"1800"`: 30 * time.Minute, `1800.5`: 30*time.Minute + 500*time.Millisecond,
		`-1`: 0, `0`: 0, `null`: 0, `"abc"`: 0, `{}`: 0, `[1]`: 0, `true`: 0, `1e400`: 0, `"NaN"`: 0, `99999999999999999999`: 0,
	} {
		r := readReply([]byte(`{"access_token":"a","refresh_token":"r","expires_in":`+raw+`}`), Entry{}, sent)
		assert.Equal(t, want, r.tokens.ExpiresIn, raw)
		assert.Equal(t, "r", r.tokens.RefreshToken.Reveal(), "%s costs no token", raw)
	}
	r := readReply([]byte(`{"access_token":"a","expires_at":"2026-01-01T01:00:00Z","x_refresh_token_expires_in":8726400,"scope":"a,b c","realmId":"9"}`), Entry{MetadataFields: []string{"realmId", "none"}}, sent)
	assert.Equal(t, time.Hour, r.tokens.ExpiresIn)
	assert.Equal(t, 101*day, r.tokens.RefreshTokenExpiresIn)
	assert.Equal(t, []string{"a", "b", "c"}, r.tokens.Scopes)
	assert.Equal(t, map[string]string{"realmId": "9"}, r.tokens.Metadata)
	assert.True(t, r.tokens.RefreshToken.IsZero())
}

// TestTextIsStorable: stored text has nothing that PostgreSQL refuses. The tokens keep
// every byte.
func TestTextIsStorable(t *testing.T) {
	t.Parallel()
	e := Entry{MetadataFields: []string{"name"}}
	many := strings.Repeat("s ", maxScopes+1)
	for _, c := range []struct {
		body   string
		scopes []string
		name   string
	}{
		{`{"access_token":"a","refresh_token":"r\u0000","scope":"read\u0000","name":"a\u0000b"}`, []string{"read"}, "a b"},
		{"{\"access_token\":\"a\",\"refresh_token\":\"r\\u0000\",\"scope\":\"read\xff write\",\"name\":\"\\u202eevil\"}", []string{"read", "write"}, "evil"},
		{`{"access_token":"a","refresh_token":"r\u0000","scope":["a\u0000","b c","d,e",1],"name":"\ud800"}`, []string{"a", "b", "c", "d", "e", "1"}, ""},
		{`{"access_token":"a","refresh_token":"r\u0000","scope":"a\nb\tc"}`, []string{"a", "b", "c"}, ""},
		{"access_token=a&refresh_token=r%00&scope=read%00+%ff+write&name=%ffa", []string{"read", "write"}, "a"},
		{`{"access_token":"a","refresh_token":"r\u0000","scope":"short ` + strings.Repeat("x", maxScope+1) + `"}`, []string{"short"}, ""},
		{`{"access_token":"a","refresh_token":"r\u0000","scope":"` + many + `"}`, strings.Fields(many)[:maxScopes], ""},
		{`{"access_token":"a","refresh_token":"r\u0000","scope":"\u0000"}`, nil, ""},
	} {
		r := readReply([]byte(c.body), e, time.Now())
		assert.Equal(t, c.scopes, r.tokens.Scopes, c.body)
		assert.Equal(t, c.name, r.tokens.Metadata["name"], c.body)
		assert.Equal(t, "r\x00", r.tokens.RefreshToken.Reveal(), "a token is bytes")
	}
	bad := readReply([]byte("{\"access_token\":\"a\xff\xc3(é\",\"refresh_token\":\"\xfe\\u0000\x80\"}"), e, time.Now())
	assert.Equal(t, "a\xff\xc3(é", bad.tokens.AccessToken.Reveal())
	assert.Equal(t, "\xfe\x00\x80", bad.tokens.RefreshToken.Reveal())
	raw := readReply([]byte("access_token=%ff%00&refresh_token=%fe"), e, time.Now())
	assert.Equal(t, "\xff\x00", raw.tokens.AccessToken.Reveal())
	assert.Equal(t, "\xfe", raw.tokens.RefreshToken.Reveal())
}

func TestParseTokens(t *testing.T) {
	t.Parallel()
	tokens, at, err := ParseTokens(strings.NewReader(`{"access_token":"a","refresh_token":"r","expires_in":60,"obtained_at":"2026-01-01T00:00:00Z"}`), Entry{})
	require.NoError(t, err)
	assert.Equal(t, "r", tokens.RefreshToken.Reveal())
	assert.Equal(t, 2026, at.Year())
	for _, bad := range []string{``, `planted-token`, `{"refresh_token":"planted-token"}`, `{"access_token":"planted-token","obtained_at":"planted-token"}`, `["planted-token"]`} {
		_, _, err := ParseTokens(strings.NewReader(bad), Entry{})
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), bad)
		assert.NotContains(t, err.Error(), "planted-token")
	}
}

// FuzzReadReply: whatever the reply, its stored text is short, printable UTF-8 and has
// no secret.
func FuzzReadReply(f *testing.F) {
	f.Add(200, "req-1", []byte(`{"access_token":"a","refresh_token":"r","expires_in":"x","scope":["a",1],"m":"v"}`))
	f.Add(200, "0195f3a2-7b1c-7d11-9e36-1b0f6b2d8c11", []byte(`access_token=a&expires_in=9&refresh_token=%00%ff&scope=a%00b+%fe`))
	f.Add(200, "\x00", []byte("{\"access_token\":\"a\",\"scope\":\"a\\u0000b\xff c\",\"m\":\"\\u202e\\ufffd\",\"token_type\":\"bot\"}"))
	f.Add(400, testToken.Reveal(), []byte(`{"error":"invalid_grant","error_description":"\u0000 planted client+secret/="}`))
	e := Entry{MetadataFields: []string{"m"}, RequestIDHeader: "X-Id"}
	f.Fuzz(func(t *testing.T, status int, id string, body []byte) {
		o := &oneShot{app: App{Provider: e}, used: true, status: status, header: http.Header{"X-Id": {id}}, body: body}
		o.sent.Store(true)
		read := readReply(body, e, time.Now())
		r := o.reply(e, time.Now(), testSecret, testToken)
		for _, life := range []time.Duration{read.tokens.ExpiresIn, read.tokens.RefreshTokenExpiresIn, read.tokens.GrantExpiresIn} {
			if life < 0 {
				t.Fatal("a negative life")
			}
		}
		if !read.readable && !read.tokens.AccessToken.IsZero() {
			t.Fatal("a token from what cannot be read")
		}
		if !utf8.Valid(body) && !bytes.Contains(body, []byte("\xf4\x8f")) && withBytes(string(withoutBytes(body))) != string(body) {
			t.Fatal("a byte was lost")
		}
		if len(read.tokens.Scopes) > maxScopes {
			t.Fatal("too many scopes")
		}
		for _, scope := range read.tokens.Scopes {
			storable(t, "scope", scope, maxScope)
		}
		storable(t, "token type", read.tokens.TokenType, 6)
		storable(t, "metadata", read.tokens.Metadata["m"], 256)
		for what, s := range map[string]string{"code": r.Code, "description": r.Description, "request id": r.RequestID} {
			storable(t, what, s, 200)
			for _, secret := range []string{testSecret.Reveal(), testToken.Reveal()} {
				if strings.Contains(s, secret) {
					t.Fatalf("%s leaks: %q", what, s)
				}
			}
		}
	})
}

// storable fails the test unless both databases accept s: PostgreSQL refuses NUL and
// invalid UTF-8 in a text.
func storable(t *testing.T, what, s string, limit int) {
	t.Helper()
	if len(s) > limit || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Fatalf("%s is not storable: %q", what, s)
	}
}

func FuzzDescribe(f *testing.F) {
	secret := perennial.NewSecret("planted+secret/with=signs")
	f.Add("before ", " after")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, form := range []string{secret.Reveal(), "cGxhbnRlZCtzZWNyZXQvd2l0aD1zaWducw=="} {
			out := describe(before+form+after, secret) + codeOf(before+form+after, secret)
			if strings.Contains(out, form) || len(describe(before+form+after, secret)) > 200 {
				t.Fatalf("leaks or is too long: %q", out)
			}
		}
	})
}

// BenchmarkClassify has replies in the order of how many rules they pass before one
// matches.
func BenchmarkClassify(b *testing.B) {
	for _, c := range []struct {
		name, provider string
		ev             evidence
	}{
		{"refreshed", "hubspot", evidence{sent: true, status: 200, readable: true, accessToken: true}},
		{"own spelling", "hubspot", evidence{sent: true, status: 400, readable: true, code: "BAD_REFRESH_TOKEN"}},
		{"invalid_grant", "microsoft", evidence{sent: true, status: 400, readable: true, code: "invalid_grant", text: "AADSTS50076: sign in again"}},
		{"no words", "generic", evidence{sent: true, status: 502}},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := entry(b, c.provider)
			b.ReportAllocs()
			for b.Loop() {
				classify(e, c.ev)
			}
		})
	}
}

func BenchmarkReadReply(b *testing.B) {
	for _, c := range []struct{ name, provider, body string }{
		{"tokens", "hubspot", `{"refresh_token":"6f18f21e-a743-4509-b7fd-1a5e632fffa1","access_token":"CN2zlYnmLBICAQIYgZXFLyCWp1Yoy","expires_in":1800}`},
		{"large tokens", "microsoft", `{"token_type":"Bearer","scope":"User.Read Mail.Read","expires_in":4811,"access_token":"` + strings.Repeat("t", 2400) + `","refresh_token":"` + strings.Repeat("r", 1600) + `"}`},
		{"a form", "generic", `access_token=CN2zlYnmLBICAQIYgZXFLyCWp1Yoy&expires_in=28800&refresh_token=6f18f21e`},
		{"a refusal", "quickbooks", `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			body, e := []byte(c.body), entry(b, c.provider)
			b.ReportAllocs()
			for b.Loop() {
				readReply(body, e, time.Time{})
			}
		})
	}
}
