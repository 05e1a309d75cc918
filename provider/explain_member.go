package provider

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// maxMembers bounds how many members of a reply are explained.
const maxMembers = 200

// explainer goes through a reply and says of each value how it was read.
type explainer struct {
	e       Entry
	in      received
	read    tokenReply
	refused bool
	secrets []perennial.Secret
	root    any
	members []Member
}

// walk explains every value below v, which stands at path.
func (x *explainer) walk(path []string, v any) {
	if len(x.members) >= maxMembers || len(path) > maxDepth {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			x.walk(append(slices.Clone(path), name), v[name])
		}
	case []any:
		if x.isList(path, v) {
			return
		}
		for i, one := range v {
			x.walk(append(slices.Clone(path), strconv.Itoa(i)), one)
		}
	default:
		x.members = append(x.members, Member{Path: x.named(path), Value: x.shown(path, v), Read: x.meaning(path, v)})
	}
}

// isList explains a list of scopes as one value.
func (x *explainer) isList(path []string, v []any) bool {
	name := x.name(path)
	if name != "scope" && name != "scopes" {
		return false
	}
	x.members = append(x.members, Member{Path: x.named(path), Value: fmt.Sprintf("a list of %d", len(v)), Read: x.meaning(path, v)})
	return true
}

// named writes a path. A name that may be a secret is not shown.
func (x *explainer) named(path []string) string {
	out := make([]string, len(path))
	for i, name := range path {
		out[i] = describe(withBytes(name), x.secrets...)
	}
	return strings.Join(out, ".")
}

// name returns the name of RFC 6749 of a member, if the description says that it stands
// here, or else its own in snake_case.
func (x *explainer) name(path []string) string {
	for name, paths := range x.e.MembersAt {
		if slices.Contains(paths, strings.Join(path, ".")) {
			return name
		}
	}
	if len(path) == 0 {
		return ""
	}
	return toSnake(path[len(path)-1])
}

// shown returns a value as it may be shown.
func (x *explainer) shown(path []string, v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case string, json.Number:
		s := withBytes(text(v))
		if x.isSecret(path, s) {
			return hidden(s)
		}
		if strings.HasPrefix(strings.TrimSpace(s), "{") {
			return fmt.Sprintf("JSON as a text of %d bytes", len(s))
		}
		return describe(s, x.secrets...)
	}
	return "another value"
}

// minDigest is the shortest text, in bytes, whose digest is shown: of a shorter one it
// would be a way to guess it.
const minDigest = 16

// hidden shows a secret so that two can be told apart.
func hidden(s string) string {
	if len(s) < minDigest {
		return fmt.Sprintf("%d bytes", len(s))
	}
	return fmt.Sprintf("%d bytes, sha256 %.8s...", len(s), perennial.NewSecret(s).Digest())
}

// secretNames are parts of the names of members that are not shown, beside those of tokens.
var secretNames = []string{"secret", "key", "password", "jwt", "signature", "code", "assertion", "cookie", "session"}

// isSecret reports whether a text is a token or may be one, by its name.
func (x *explainer) isSecret(path []string, s string) bool {
	name := x.name(path)
	if holdsSecret(s, x.secrets) {
		return true
	}
	named := slices.ContainsFunc(secretNames, func(part string) bool { return strings.Contains(name, part) })
	if named && !(x.refused && x.refusedWith(s) != "") { // an error code is none
		return true
	}
	for _, part := range append(slices.Clone(path), name) { // {"access": {"value": ...}}
		if isTokenLike(part, s) {
			return true
		}
	}
	return false
}

// meaning says as what a value was read, "" if it was not.
func (x *explainer) meaning(path []string, v any) string {
	s, name := withBytes(text(v)), x.name(path)
	token := perennial.NewSecret(s)
	switch t := x.read.tokens; {
	case s != "" && token.Digest() == t.AccessToken.Digest():
		return "the access token"
	case s != "" && token.Digest() == t.RefreshToken.Digest():
		return "the refresh token"
	case slices.Contains(x.e.MetadataFields, name):
		return "stored with the connection"
	case x.isAccount(path):
		return "the account's id"
	}
	if x.refused {
		return x.refusedWith(s)
	}
	if !x.counts(path) {
		return ""
	}
	switch name {
	case "token_type":
		return "the type: sent as " + x.read.tokens.TokenType
	case "scope", "scopes":
		return fmt.Sprintf("%d scopes", len(x.read.tokens.Scopes))
	case "id_token":
		if x.e.Account.From == AccountFromIDToken {
			return "its claim " + x.e.Account.Name + " is the account's id"
		}
	}
	return x.lifetime(name, s)
}

// refusedWith says as which part of a refusal a text was read.
func (x *explainer) refusedWith(s string) string {
	switch s = strings.TrimSpace(s); {
	case s == "":
		return ""
	case slices.Contains(x.read.refusal.codes, s):
		return "an error code"
	case slices.Contains(x.read.refusal.texts, s):
		return "what the error says"
	}
	return ""
}

// counts reports whether members beside a value are read: at the top, beside the access
// token, or where the description says.
func (x *explainer) counts(path []string) bool {
	if len(path) <= 1 || x.name(path) != toSnake(path[len(path)-1]) {
		return true
	}
	beside, _ := member(x.root, strings.Join(path[:len(path)-1], ".")).(map[string]any)
	access := perennial.NewSecret(withBytes(text(snakeCase(beside)["access_token"])))
	return !access.IsZero() && access.Digest() == x.read.tokens.AccessToken.Digest()
}

func (x *explainer) isAccount(path []string) bool {
	if x.e.Account.From != AccountFromReply {
		return false
	}
	want := strings.Split(x.e.Account.Name, ".")
	return slices.EqualFunc(want, path, func(want, name string) bool {
		_, err := strconv.Atoi(name)
		return want == name || want == "*" && err == nil
	})
}

// lifetime says how a lifetime was read, and in which unit.
func (x *explainer) lifetime(name, s string) string {
	t := x.read.tokens
	for _, kind := range []struct {
		names       []string
		what        string
		usual, last time.Duration
		taken       time.Duration
	}{
		{accessLifetimes, "life of the access token", x.e.DefaultLifetime, maxAccessLifetime, t.ExpiresIn},
		{refreshLifetimes, "life of the refresh token", x.e.IdleLifetime, 0, t.RefreshTokenExpiresIn},
		{grantLifetimes, "life of the grant", x.e.GrantLifetime, 0, t.GrantExpiresIn},
	} {
		if !slices.Contains(kind.names, name) {
			continue
		}
		d := lifetimes{usual: kind.usual, last: kind.last, unit: x.e.LifetimeUnit, sent: x.in.sent, date: x.in.date}.member(name, s)
		switch {
		case d == 0:
			return kind.what + ": it cannot be read, and does not count"
		case d != kind.taken:
			return fmt.Sprintf("%s: %s, %s; another member says %s, which counts", kind.what, spanOf(d), unitRead(s, d), spanOf(kind.taken))
		}
		return fmt.Sprintf("%s: %s, %s", kind.what, spanOf(d), unitRead(s, d))
	}
	return ""
}

// unitRead names the unit in which a lifetime was read.
func unitRead(s string, d time.Duration) string {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil {
		return "from words or a date"
	}
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Minute, time.Hour, day} {
		if times(n, unit) == d {
			return "in units of " + string(spanOf(unit))
		}
	}
	return "from an instant"
}
