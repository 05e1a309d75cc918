package provider

import (
	"bytes"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
)

// maxUnread bounds the kept part of a reply that could not be read, in bytes.
const maxUnread = 64 << 10

// unread returns a success that could not be read, if it may have tokens: a whole text
// that has a token's name, or an encoding that Perennial cannot undo. A page has none, nor
// has a reply that broke off before its first token ended: nothing could be read from it
// later.
func (in received) unread(header http.Header) Unread {
	if len(in.body) == 0 || !in.mayHaveTokens() && !strangelyEncoded(header) {
		return Unread{}
	}
	kept := in.body[:min(len(in.body), maxUnread)]
	return Unread{Body: perennial.NewSecret(string(kept)), Whole: in.whole && len(kept) == len(in.body)}
}

// without returns what was kept without a secret of the request that the server repeats.
func (u Unread) without(secret perennial.Secret) Unread {
	if secret.IsZero() || u.Body.IsZero() {
		return u
	}
	plain, _, _ := decoded([]byte(u.Body.Reveal()))
	if bytes.Contains(plain, []byte(secret.Reveal())) {
		u.Body = perennial.NewSecret(string(bytes.ReplaceAll(plain, []byte(secret.Reveal()), []byte("[redacted]"))))
	}
	return u
}

func (in received) mayHaveTokens() bool {
	d := readDocument(in.body, in.whole)
	if d.page {
		return false
	}
	if d.root != nil {
		return hasTokenLike("", d.root, 0)
	}
	text, _, _ := decoded(in.body)
	for _, match := range namedText.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\x00", ""), -1) {
		if isTokenLike(match[1], match[2]) {
			return true
		}
	}
	return false
}

// strangelyEncoded reports whether a body has an encoding that [decoded] does not undo.
func strangelyEncoded(header http.Header) bool {
	encoding := strings.ToLower(strings.TrimSpace(header.Get("Content-Encoding")))
	return !slices.Contains([]string{"", "identity", "gzip", "x-gzip", "deflate"}, encoding)
}

// namedText matches a name and its text in any notation, as far as the text has an end.
var namedText = regexp.MustCompile(`([A-Za-z_\-.]+)["']?\s*[:=]>?\s*["']?([^\s"'&<>,;]+)["'&<,;\s]`)

// minTokenLike is the shortest text that may be a token, in bytes.
const minTokenLike = 8

// isTokenLike reports whether a member may be a token, by its name and its value.
func isTokenLike(name, value string) bool {
	name = toSnake(name)
	if !strings.Contains(name, "token") && !strings.Contains(name, "access") && !strings.Contains(name, "refresh") {
		return false
	}
	for _, end := range []string{"_type", "_in", "_at", "_on", "_url", "_uri", "_endpoint", "_id", "_hint", "_scope"} {
		if strings.HasSuffix(name, end) {
			return false
		}
	}
	return len(value) >= minTokenLike && !strings.ContainsAny(strings.TrimSpace(value), " \t\r\n")
}

// hasTokenLike reports whether v, which stands under name, may be a token or has one in
// it. The name of an object counts for the members of it that have none of their own:
// {"access": {"value": ...}}.
func hasTokenLike(name string, v any, depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch v := v.(type) {
	case string:
		return isTokenLike(name, v)
	case []any:
		return slices.ContainsFunc(v, func(inner any) bool { return hasTokenLike(name, inner, depth+1) })
	case map[string]any:
		for key, inner := range v {
			if hasTokenLike(key, inner, depth+1) || (key == "value" || key == "key") && hasTokenLike(name, inner, depth+1) {
				return true
			}
		}
	}
	return false
}

// ReadUnread reads a reply that was kept because it could not be read, with a corrected
// entry. sent is when the request was sent. cut reports that the reply may have had
// another refresh token. If it has no access token but a refresh token, the set has that
// alone. An error names the members of the reply, and repeats no value.
func ReadUnread(u Unread, e Entry, sent time.Time) (t perennial.TokenSet, cut bool, err error) {
	in := received{body: []byte(u.Body.Reveal()), whole: u.Whole, sent: sent}
	if e.TokensUnder != "" {
		d := readDocument(in.body, in.whole)
		e.rename(&d)
		if under, ok := member(d.root, e.TokensUnder).(map[string]any); ok {
			in.under = under // a person says that they are the grant's, also in a reply that broke off
		}
	}
	read := in.read(e)
	if t = read.tokens; e.Grant.FromCredentials() {
		t.RefreshToken = perennial.Secret{} // its connection keeps its credentials
	}
	if e.Renewal == RenewalAccessToken {
		t = e.held(t, false)
	}
	if t.AccessToken.IsZero() && t.RefreshToken.IsZero() {
		return t, false, perennial.Errorf(perennial.CodeInvalid, "the kept reply still has no tokens that can be read. It has: %s. Say where they are: --under PATH for the object with access_token, or --at access_token=PATH", strings.Join(memberPaths(in), ", "))
	}
	return t, read.broken && t.RefreshToken.IsZero(), nil
}

// maxPaths bounds how many members an error names.
const maxPaths = 40

// memberName is the form of a name that cannot be a token: short, or without digits.
var memberName = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_\-]{0,11}|[A-Za-z_\-]{1,32})$`)

// memberPaths lists the paths of the texts in a reply.
func memberPaths(in received) []string {
	var paths []string
	var walk func(path string, v any, depth int)
	walk = func(path string, v any, depth int) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if memberName.MatchString(name) && depth < maxNesting {
					walk(strings.TrimPrefix(path+"."+name, "."), inner, depth+1)
				}
			}
		case string:
			paths = append(paths, path)
		}
	}
	walk("", readDocument(in.body, in.whole).root, 0)
	slices.Sort(paths)
	if len(paths) == 0 {
		return []string{"nothing that can be read"}
	}
	return paths[:min(len(paths), maxPaths)]
}
