package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/perennial-oauth/perennial"
)

// maxBody bounds how much of a token endpoint's reply is read, in bytes. A token set
// that cannot be stored must fit, sealed, into one message of Temporal (2 MiB).
const maxBody = 256 << 10

// tokenReply is a token endpoint's body, read leniently.
type tokenReply struct {
	tokens perennial.TokenSet
	// code and description are the reply's error (RFC 6749 section 5.2, or the
	// provider's own members); raw, not yet bounded or redacted.
	code, description string
	readable          bool // the body was an object or a form
}

// readReply reads a token reply. It never fails: it leaves out what it cannot use, and
// a bad lifetime never costs the token. sent is when the request was sent, for replies
// with an instant instead of a lifetime.
func readReply(body []byte, e Entry, sent time.Time) tokenReply {
	members, ok := object(body)
	if !ok {
		return tokenReply{}
	}
	r := tokenReply{readable: true}
	r.code, r.description = replyError(members)
	t := &r.tokens
	at := e.tokensAt(members)
	t.AccessToken = perennial.NewSecret(withBytes(text(at["access_token"])))
	t.RefreshToken = perennial.NewSecret(withBytes(text(at["refresh_token"])))
	if ok, said := members["ok"].(bool); said && !ok {
		t.AccessToken, t.RefreshToken = perennial.Secret{}, perennial.Secret{} // Slack's refusal: never a success
	}
	if text(at["token_type"]) != "" {
		t.TokenType = perennial.TokenTypeBearer
	}
	t.Scopes = scopes(at)
	t.ExpiresIn = lifetime(at["expires_in"])
	if t.ExpiresIn == 0 {
		t.ExpiresIn = until(at["expires_at"], sent)
	}
	t.RefreshTokenExpiresIn = firstLifetime(at, "refresh_token_expires_in", "x_refresh_token_expires_in", "refresh_expires_in", "refresh_token_timeout")
	t.GrantExpiresIn = firstLifetime(at, "x_refresh_token_hard_expires_in", "xRefreshTokenHardExpiresIn", "authorization_expires_in")
	for _, name := range e.MetadataFields {
		if v := clean(text(members[name]), 256); v != "" {
			if t.Metadata == nil {
				t.Metadata = map[string]string{}
			}
			t.Metadata[name] = v
		}
	}
	return r
}

// tokensAt returns the object that has the tokens. It never combines two objects, which
// would pair the access token of one grant with the refresh token of another.
func (e Entry) tokensAt(members map[string]any) map[string]any {
	if nested, ok := members[e.TokensUnder].(map[string]any); ok && e.TokensUnder != "" && text(members["access_token"]) == "" {
		return nested
	}
	return members
}

// object reads a JSON object or a form, which some servers send.
func object(body []byte) (map[string]any, bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || len(body) > maxBody {
		return nil, false
	}
	if body[0] == '{' {
		var members map[string]any
		decoder := json.NewDecoder(bytes.NewReader(withoutBytes(body)))
		decoder.UseNumber()
		if err := decoder.Decode(&members); err != nil {
			return nil, false
		}
		return members, true
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || body[0] == '<' || !form.Has("access_token") && !form.Has("error") {
		return nil, false
	}
	members := map[string]any{}
	for k := range form {
		members[k] = form.Get(k)
	}
	return members, true
}

// firstByte stands for byte 0 in JSON that is not UTF-8. The decoder would replace each
// such byte by U+FFFD and so change a token. Therefore the bytes pass through it as
// private-use characters.
const firstByte rune = 0x10FE00

func withoutBytes(body []byte) []byte {
	if utf8.Valid(body) {
		return body
	}
	out := make([]byte, 0, 2*len(body))
	for len(body) > 0 {
		r, n := utf8.DecodeRune(body)
		if r == utf8.RuneError && n == 1 {
			r = firstByte + rune(body[0])
		}
		out, body = utf8.AppendRune(out, r), body[n:]
	}
	return out
}

// withBytes undoes withoutBytes.
func withBytes(s string) string {
	out := make([]byte, 0, len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if b := r - firstByte; utf8.RuneSelf <= b && b <= math.MaxUint8 {
			out = append(out, byte(b))
		} else {
			out = append(out, s[:n]...)
		}
		s = s[n:]
	}
	return string(out)
}

// replyError finds the error code in the places where providers put it. A member that
// is not a string is not a code.
func replyError(m map[string]any) (code, description string) {
	description = first(m, "error_description", "message", "reason")
	if nested, ok := m["error"].(map[string]any); ok {
		return first(nested, "code", "type", "status"), first(nested, "message", "description")
	}
	// HubSpot's own code, in status, says more than RFC 6749's in error.
	if s := text(m["status"]); strings.HasPrefix(s, "BAD_") {
		return s, description
	}
	return first(m, "error", "category", "errorType", "error_code"), description
}

func first(m map[string]any, names ...string) string {
	for _, name := range names {
		if s := text(m[name]); s != "" {
			return s
		}
	}
	return ""
}

// text returns a member's value as text: strings and numbers only.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// The bounds of a reply's stored scopes.
const (
	maxScopes = 1000
	maxScope  = 256 // bytes of each scope; a longer one is left out
)

// scopes reads a scope parameter (RFC 6749 section 3.3), or a list of scopes.
func scopes(m map[string]any) []string {
	for _, name := range []string{"scope", "scopes"} {
		list, ok := m[name].([]any)
		if !ok {
			list = []any{m[name]}
		}
		var out []string
		for _, one := range list {
			for _, scope := range perennial.ParseScopes(blankUnprintable(text(one))) {
				if len(scope) <= maxScope && len(out) < maxScopes {
					out = append(out, scope)
				}
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// lifetime reads seconds, as a number or as text. Anything but a positive, finite
// number of seconds becomes 0: not given.
func lifetime(v any) time.Duration {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(text(v)), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds > float64(math.MaxInt64/int64(time.Second)) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

func firstLifetime(m map[string]any, names ...string) time.Duration {
	for _, name := range names {
		if d := lifetime(m[name]); d > 0 {
			return d
		}
	}
	return 0
}

// until reads an instant (RFC 3339, or seconds since 1970) as the time left after from.
func until(v any, from time.Time) time.Duration {
	at, ok := instant(text(v))
	if !ok || from.IsZero() {
		return 0
	}
	return max(at.Sub(from), 0)
}

func instant(s string) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, true
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil && seconds > 0 && seconds < 1<<40 {
		return time.Unix(seconds, 0), true
	}
	return time.Time{}, false
}

// ParseTokens reads a token reply (RFC 6749 section 5.1) from a person: JSON, with an
// optional obtained_at (RFC 3339, or seconds since 1970), the time of its request.
// Errors never repeat the input.
func ParseTokens(r io.Reader, e Entry) (t perennial.TokenSet, obtainedAt time.Time, err error) {
	body, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if err != nil {
		return t, obtainedAt, fmt.Errorf("read the token reply: %w", err)
	}
	if len(body) > maxBody {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, "the token reply is longer than %d bytes", maxBody)
	}
	members, ok := object(body)
	if !ok {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, `the token reply is not a JSON object: give what the token endpoint answered, for example {"access_token": "...", "refresh_token": "...", "expires_in": 1800}`)
	}
	if raw, given := members["obtained_at"]; given {
		if obtainedAt, ok = instant(text(raw)); !ok {
			return t, obtainedAt, errors.Join(perennial.Errorf(perennial.CodeInvalid, "obtained_at is neither an RFC 3339 time nor seconds since 1970"))
		}
	}
	t = readReply(body, e, obtainedAt).tokens
	if t.AccessToken.IsZero() {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, "the token reply has no access_token")
	}
	return t, obtainedAt, nil
}
