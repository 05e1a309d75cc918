package provider

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/perennial-oauth/perennial"
)

// longRun is what may be a token: a long run of token characters. RFC 6749
// descriptions are sentences; a word of this length is none.
var longRun = regexp.MustCompile(`[A-Za-z0-9+/_\-=.%~]{20,}`)

// clean makes s one printable line of at most limit bytes.
func clean(s string, limit int) string {
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return strings.TrimSpace(s)
}

// redact returns s without any of the secrets, in any form that an echoing
// server could repeat them, and without anything else that looks like a token.
func redact(s string, secrets ...perennial.Secret) string {
	for _, secret := range secrets {
		raw := secret.Reveal()
		if len(raw) < 4 {
			continue // nothing so short is secret, and removing it would garble the text
		}
		for _, form := range []string{raw, url.QueryEscape(raw), url.PathEscape(raw),
			base64.StdEncoding.EncodeToString([]byte(raw)), base64.URLEncoding.EncodeToString([]byte(raw)),
			base64.RawStdEncoding.EncodeToString([]byte(raw)), base64.RawURLEncoding.EncodeToString([]byte(raw))} {
			s = strings.ReplaceAll(s, form, "[redacted]")
		}
	}
	return longRun.ReplaceAllString(s, "[redacted]")
}

// describe bounds and redacts what a provider says for people.
func describe(s string, secrets ...perennial.Secret) string {
	if len(s) > 4096 {
		s = s[:4096]
	}
	return clean(redact(s, secrets...), 200)
}

// codeOf bounds an error code; what does not look like one is not kept.
func codeOf(s string, secrets ...perennial.Secret) string {
	if s = clean(s, 64); !plainCode.MatchString(s) || holdsSecret(s, secrets) {
		return ""
	}
	return s
}

// plainCode is the form of every error code in RFC 6749 and the catalogue.
var plainCode = regexp.MustCompile(`^[A-Za-z][A-Za-z_\-. ]{1,47}$`)

func holdsSecret(s string, secrets []perennial.Secret) bool {
	for _, secret := range secrets {
		if raw := secret.Reveal(); len(raw) >= 4 && strings.Contains(s, raw) {
			return true
		}
	}
	return false
}
