package provider

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
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
	tokens   perennial.TokenSet
	refusal  refusal
	readable bool // the body was an object or a form
	broken   bool // the body breaks off: it may have had more members
	page     bool // the body is markup
}

// received is a body as it arrived.
type received struct {
	body  []byte
	whole bool           // it has provably arrived to its end
	sent  time.Time      // when the request was sent, for replies with an instant instead of a lifetime
	date  time.Time      // when the reply was made, by the provider's clock; zero if it does not say
	under map[string]any // the object that has the tokens, by the word of a person; or none
}

// readReply reads a whole token reply. It never fails: it leaves out what it cannot use,
// and a bad lifetime never costs the token. sent is when the request was sent.
func readReply(body []byte, e Entry, sent time.Time) tokenReply {
	return received{body: body, whole: true, sent: sent}.read(e)
}

// read reads a token reply, see [readReply]. Of one that broke off it takes the complete
// members.
func (in received) read(e Entry) tokenReply {
	d := readDocument(in.body, in.whole)
	r := tokenReply{readable: d.read, broken: d.broken, page: d.page}
	if !d.read {
		r.refusal = plainRefusal(in.body)
		return r
	}
	e.rename(&d)
	r.refusal = readRefusal(d.top)
	if d.top == nil {
		r.refusal = plainRefusal(in.body) // a code or a list, as JSON
	}
	at, refresh := e.tokensAt(d)
	if in.under != nil {
		at = snakeCase(in.under)
		refresh = text(at["refresh_token"])
	}
	t := &r.tokens
	t.AccessToken = perennial.NewSecret(withBytes(text(at["access_token"])))
	t.RefreshToken = perennial.NewSecret(withBytes(refresh))
	if ok, said := d.top["ok"].(bool); said && !ok && (r.refusal.code != "" || t.RefreshToken.IsZero()) {
		t.AccessToken, t.RefreshToken = perennial.Secret{}, perennial.Secret{} // Slack's refusal: never a success
	}
	t.TokenType = tokenType(text(at["token_type"]))
	t.Scopes = scopes(at)
	in.readLifetimes(t, e, at, d.top)
	t.Metadata = e.metadata(at, d.top)
	return r
}

// rename gives members that the reply has elsewhere the names of RFC 6749, at the top.
func (e Entry) rename(d *document) {
	if len(e.MembersAt) == 0 {
		return
	}
	top := maps.Clone(d.top)
	if top == nil {
		top = map[string]any{}
	}
	for name, paths := range e.MembersAt {
		for _, path := range paths {
			if v := member(d.root, path); v != nil {
				top[name] = v
				break
			}
		}
	}
	d.top, d.root = top, top
}

// readLifetimes reads the lifetimes from the object that has the tokens, or from the
// top of the reply.
func (in received) readLifetimes(t *perennial.TokenSet, e Entry, at, top map[string]any) {
	of := func(usual, last time.Duration, names []string) time.Duration {
		l := lifetimes{usual: usual, last: last, unit: e.LifetimeUnit, sent: in.sent, date: in.date}
		if d := l.shortest(at, names); d > 0 {
			return d
		}
		return l.shortest(top, names)
	}
	usual := e.DefaultLifetime
	if e.Renewal == RenewalAccessToken {
		usual = 0 // that of a consent's own token: an exchanged one lives for much longer, in the same unit
	}
	t.ExpiresIn = of(usual, maxAccessLifetime, accessLifetimes)
	t.RefreshTokenExpiresIn = of(e.IdleLifetime, 0, refreshLifetimes)
	t.GrantExpiresIn = of(e.GrantLifetime, 0, grantLifetimes)
}

// metadata returns the reply's members that the entry stores.
func (e Entry) metadata(at, top map[string]any) map[string]string {
	var out map[string]string
	for _, name := range e.MetadataFields {
		v := clean(first(top, name), 256)
		if v == "" {
			v = clean(first(at, name), 256)
		}
		if v == "" {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = v
	}
	return out
}

// tokensAt returns the object that has the access token, and the refresh token that
// belongs to it. That is the top of the reply, or what is there under the entry's
// TokensUnder, or else the only object of the reply with an access token. It never
// combines two grants: a refresh token of another object belongs to the access token
// only if the reply has no other token of either kind.
func (e Entry) tokensAt(d document) (at map[string]any, refresh string) {
	at = snakeCase(d.top)
	var found grants
	if !d.broken { // what is missing could have another token
		found.find(d.root, 0)
	}
	if text(at["access_token"]) == "" {
		under, ok := member(d.root, e.TokensUnder).(map[string]any)
		switch {
		case d.broken:
		case ok && e.TokensUnder != "" && text(snakeCase(under)["access_token"]) != "":
			at = snakeCase(under)
		case len(found.access) == 1:
			at = found.access[0]
		}
	}
	refresh = text(at["refresh_token"])
	if refresh == "" && len(found.access) <= 1 && len(found.refresh) == 1 {
		refresh = text(found.refresh[0]["refresh_token"])
	}
	return at, refresh
}

// grants are the objects of a reply that have tokens.
type grants struct{ access, refresh []map[string]any }

// maxNesting bounds how deep in a reply tokens are looked for.
const maxNesting = 6

func (g *grants) find(v any, depth int) {
	if depth > maxNesting {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		members := snakeCase(v)
		if text(members["access_token"]) != "" {
			g.access = append(g.access, members)
		}
		if text(members["refresh_token"]) != "" {
			g.refresh = append(g.refresh, members)
		}
		for _, inner := range v {
			g.find(inner, depth+1)
		}
	case []any:
		for _, inner := range v {
			g.find(inner, depth+1)
		}
	case string:
		if strings.HasPrefix(v, "{") { // an object as text
			var quoted document
			if quoted.json([]byte(v), 0); !quoted.broken {
				g.find(quoted.root, depth+1)
			}
		}
	}
}

// tokenType returns the type of an access token. Providers write other words for Bearer,
// which are not used: only the types that differ on purpose count. Their tokens are
// useless without a proof that this program does not give.
func tokenType(s string) string {
	for _, bound := range boundTypes {
		if strings.EqualFold(s, bound) {
			return bound
		}
	}
	if s == "" {
		return ""
	}
	return perennial.TokenTypeBearer
}

// boundTypes are the registered types (IANA, OAuth Access Token Types) that are not
// Bearer.
var boundTypes = []string{"DPoP", "MAC", "PoP", "N_A"}

// CodeBoundToken is the code for access tokens that only a proof of a key makes good
// (RFC 9449): APIs refuse them as Bearer, and this program gives no proof.
const CodeBoundToken = "bound_token"

// IsBound reports whether a token set's access token is of such a type.
func IsBound(t perennial.TokenSet) bool { return slices.Contains(boundTypes, t.TokenType) }

// boundText says what to do about such tokens.
func boundText(app string, t perennial.TokenSet) string {
	if app != "" {
		app = "app " + app + " "
	}
	return fmt.Sprintf("the provider gives %saccess tokens of the type %s, which need a proof with each request: register the client for Bearer tokens (without dpop_bound_access_tokens)", app, t.TokenType)
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

// instant reads an instant as a date, or as the time since 1970.
func instant(s string) (time.Time, bool) {
	if n, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
		return epoch(n)
	}
	return dateOf(s)
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
	d := readDocument(body, true)
	if !d.read {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, `the token reply is not a JSON object: give what the token endpoint answered, for example {"access_token": "...", "refresh_token": "...", "expires_in": 1800}`)
	}
	if raw, given := d.top["obtained_at"]; given {
		var ok bool
		if obtainedAt, ok = instant(text(raw)); !ok {
			return t, obtainedAt, errors.Join(perennial.Errorf(perennial.CodeInvalid, "obtained_at is neither an RFC 3339 time nor seconds since 1970"))
		}
	}
	t = readReply(body, e, obtainedAt).tokens
	if t.AccessToken.IsZero() {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, "the token reply has no access_token")
	}
	if IsBound(t) {
		return t, obtainedAt, perennial.Errorf(perennial.CodeInvalid, "the tokens cannot be used: %s", boundText("", t))
	}
	return t, obtainedAt, nil
}
