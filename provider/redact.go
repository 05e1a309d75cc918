package provider

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/perennial-oauth/perennial"
)

// longRun matches what may be a token: a long run of token characters. The descriptions
// of RFC 6749 are sentences, which have no words of this length.
var longRun = regexp.MustCompile(`[A-Za-z0-9+/_\-=.%~]{20,}`)

// blankUnprintable replaces by a space everything that does not belong in a line of
// text: control characters, NUL, bidirectional marks, bytes that are not UTF-8. Every
// text of a provider that the database stores passes through here: PostgreSQL refuses a
// row with NUL or invalid UTF-8, and with it the tokens of that row.
func blankUnprintable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
}

// clean turns s into one printable line of at most limit bytes.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	if s = blankUnprintable(s); len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}

// redact removes from s every secret, in any form in which a server could echo it, and
// everything else that looks like a token.
func redact(s string, secrets ...perennial.Secret) string {
	for _, secret := range secrets {
		raw := secret.Reveal()
		if len(raw) < minSecret {
			continue
		}
		for _, form := range []string{raw, url.QueryEscape(raw), url.PathEscape(raw),
			base64.StdEncoding.EncodeToString([]byte(raw)), base64.URLEncoding.EncodeToString([]byte(raw)),
			base64.RawStdEncoding.EncodeToString([]byte(raw)), base64.RawURLEncoding.EncodeToString([]byte(raw))} {
			s = strings.ReplaceAll(s, form, "[redacted]")
		}
	}
	return longRun.ReplaceAllString(s, "[redacted]")
}

// minSecret: a shorter text, in bytes, is not secret, and removing it would garble the
// rest.
const minSecret = 4

// idForm is the form of a request id: a UUID, hex, base64, or parts of them.
var idForm = regexp.MustCompile(`^[A-Za-z0-9._:=+/@-]{1,128}$`)

// requestID returns the provider's own id of a request, for support cases. A UUID looks
// like a token, so the form of an id proves nothing: requestID drops an id that shares
// a part with one of the exchange's secrets, and keeps any other.
func (e Entry) requestID(h http.Header, secrets ...perennial.Secret) string {
	if e.RequestIDHeader == "" {
		return ""
	}
	id := strings.TrimSpace(h.Get(e.RequestIDHeader))
	if !idForm.MatchString(id) {
		return ""
	}
	for _, secret := range secrets {
		raw := secret.Reveal()
		if len(raw) >= minSecret && (sharesRun(id, raw) || sharesRun(id, base64.RawStdEncoding.EncodeToString([]byte(raw)))) {
			return ""
		}
	}
	return id
}

// sharesRun reports whether id repeats a short secret, or a run of a long one: any run
// of 24 bytes, and some from 16 bytes on. Two UUIDs of the same millisecond share less.
func sharesRun(id, secret string) bool {
	const run, step = 16, 8
	if len(secret) <= run+step {
		return strings.Contains(id, secret) || len(id) >= run && strings.Contains(secret, id)
	}
	for i := 0; i+run <= len(secret); i += step {
		if strings.Contains(id, secret[i:i+run]) {
			return true
		}
	}
	return false
}

// describe bounds and redacts a provider's text for people.
func describe(s string, secrets ...perennial.Secret) string {
	if len(s) > 4096 {
		s = s[:4096]
	}
	return clean(redact(s, secrets...), 200)
}

// codeOf bounds an error code. It drops anything that does not look like one.
func codeOf(s string, secrets ...perennial.Secret) string {
	if s = clean(s, 64); !plainCode.MatchString(s) || holdsSecret(s, secrets) {
		return ""
	}
	return s
}

// plainCode is the form of every error code in RFC 6749 and the catalogue.
var plainCode = regexp.MustCompile(`^[A-Za-z][A-Za-z_\-. ]{1,47}$`)

// numberCode is the form of the codes that are numbers: Facebook's 190.
var numberCode = regexp.MustCompile(`^[0-9]{1,6}$`)

func holdsSecret(s string, secrets []perennial.Secret) bool {
	for _, secret := range secrets {
		if raw := secret.Reveal(); len(raw) >= minSecret && strings.Contains(s, raw) {
			return true
		}
	}
	return false
}
