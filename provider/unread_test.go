package provider

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const twoGrants = `{"bot":{"access_token":"bot-access-1","refresh_token":"bot-refresh-1","expires_in":3600},"user":{"access_token":"user-access-1","refresh_token":"user-refresh-1"}}`

// TestUnread: a success that cannot be read is handed on if it may have a token.
func TestUnread(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		header string // Content-Encoding
		body   string
		kept   bool
	}{
		"two grants":                  {200, "", twoGrants, true},
		"other names":                 {200, "", `{"auth":{"accessKey":"0123456789"}}`, true},
		"a token as an object":        {201, "", `{"access":{"value":"0123456789","ttl":60}}`, true},
		"a refresh token alone":       {200, "", `{"refresh_token":"0123456789"}`, true},
		"cut, with a whole one":       {200, "", `{"refresh_token":"0123456789","access_token":"012`, true},
		"cut in the first":            {200, "", `{"access_token":"0123456789`, false},
		"text":                        {200, "", "access-token: 0123456789\nfine\n", true},
		"XML-like, a page":            {200, "", "<r><access_token>0123456789</access_token></r>", false},
		"another encoding":            {200, "br", "\x0b\x02\x80", true},
		"no token":                    {200, "", `{"token_type":"bearer","expires_in":3600,"token_endpoint":"https://a.example/b"}`, false},
		"a sentence about a token":    {200, "", `{"access_token_message":"the access token is not there yet"}`, false},
		"nothing":                     {200, "", "", false},
		"maintenance":                 {200, "", "<html>Maintenance: access_token=0123456789&</html>", false},
		"a refusal in a 200":          {200, "", `{"error":"invalid_grant","access_hash":"0123456789"}`, false},
		"no success":                  {500, "", twoGrants, false},
		"UTF-32 without a decoder":    {200, "", strings.Join(strings.Split(`"access_token":"0123456789",`, ""), "\x00\x00\x00"), true},
		"tokens":                      {200, "", oddReply, false},
		"longer than what is kept":    {200, "", strings.TrimSuffix(twoGrants, "}") + `,"x":"` + strings.Repeat("y", maxUnread) + `"}`, true},
		"broken beside nested tokens": {200, "", `{"data":` + oddReply[:len(oddReply)-20] + `,`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set("Content-Encoding", c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			r := NewClient(ClientConfig{}).Refresh(t.Context(), app(server.URL), testSecret, testToken, free)
			require.Equal(t, c.kept, !r.Unread.Body.IsZero(), "%s %s", r.Outcome, r.Code)
			if c.kept {
				assert.Equal(t, perennial.OutcomeUnknown, r.Outcome)
				assert.Equal(t, c.body[:min(len(c.body), maxUnread)], r.Unread.Body.Reveal())
				assert.Equal(t, len(c.body) <= maxUnread, r.Unread.Whole)
			}
			assert.NotContains(t, fmt.Sprintf("%+v", r), "0123456789")
		})
	}
}

// TestReadUnread: a corrected description reads what was kept.
func TestReadUnread(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		body            string
		whole           bool
		entry           Entry
		access, refresh string
		cut             bool
	}{
		"under a path":            {twoGrants, true, Entry{TokensUnder: "user"}, "user-access-1", "user-refresh-1", false},
		"under another":           {twoGrants, true, Entry{TokensUnder: "bot"}, "bot-access-1", "bot-refresh-1", false},
		"other names":             {`{"auth":{"key":"a-2","renew":"r-2"}}`, true, Entry{MembersAt: map[string][]string{"access_token": {"none", "auth.key"}, "refresh_token": {"auth.renew"}}}, "a-2", "r-2", false},
		"in a list":               {`[{"key":"a-2"}]`, true, Entry{MembersAt: map[string][]string{"access_token": {"0.key"}}}, "a-2", "", false},
		"a refresh token alone":   {`{"refresh_token":"r-2"}`, true, Entry{}, "", "r-2", false},
		"cut, under a path":       {`{"data":{"access_token":"a-2","refresh_token":"r-2"},"ac`, false, Entry{TokensUnder: "data"}, "a-2", "r-2", false},
		"cut, in its refresh one": {`{"data":{"access_token":"a-2","refresh_token":"r-`, false, Entry{TokensUnder: "data"}, "a-2", "", true},
	} {
		got, cut, err := ReadUnread(Unread{Body: perennial.NewSecret(c.body), Whole: c.whole}, c.entry, sent)
		require.NoError(t, err, name)
		assert.Equal(t, []string{c.access, c.refresh}, []string{got.AccessToken.Reveal(), got.RefreshToken.Reveal()}, name)
		assert.Equal(t, c.cut, cut, name)
	}
	_, _, err := ReadUnread(Unread{Body: perennial.NewSecret(`{"auth":{"key":"planted-1","` + strings.Repeat("a", 33) + `":"planted-2"},"a1234567890bc":"planted-4","note":"planted-3"}`), Whole: true}, Entry{}, sent)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	require.ErrorContains(t, err, "auth.key, note.")
	require.NotContains(t, err.Error(), "planted")
	require.NotContains(t, err.Error(), "aaaa")
	require.NotContains(t, err.Error(), "a123")
}

// FuzzReadUnread: reading a kept reply never panics, and its error repeats no
// value.
func FuzzReadUnread(f *testing.F) {
	f.Add([]byte(twoGrants), true, "user", "")
	f.Add([]byte(`{"auth":{"key":"planted-secret-1"}}`), false, "", "auth.key")
	f.Add([]byte("\x1f\x8b\x08\x00"), true, "0.0", "a")
	f.Add([]byte(`[[{"a":"planted-secret-1"}]]`), true, "0.0", "0.0.a")
	f.Fuzz(func(t *testing.T, body []byte, whole bool, under, path string) {
		e := Entry{TokensUnder: under, MembersAt: map[string][]string{"access_token": {path}, "expires_in": {under}}}
		got, _, err := ReadUnread(Unread{Body: perennial.NewSecret(string(body)), Whole: whole}, e, time.Unix(1, 0))
		if err == nil && got.AccessToken.IsZero() && got.RefreshToken.IsZero() {
			t.Fatal("no token and no error")
		}
		if err != nil && strings.Contains(err.Error(), "planted-secret-1") {
			t.Fatalf("leaks: %v", err)
		}
		received{body: body, whole: whole}.unread(http.Header{})
	})
}
