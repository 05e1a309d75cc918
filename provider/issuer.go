package provider

import (
	"fmt"
	"strings"
)

// maxIssuer bounds how much of a foreign issuer is repeated, in bytes.
const maxIssuer = 200

// IssuerProblem says for an operator how an issuer differs from the entry's, naming both.
func (e Entry) IssuerProblem(iss string) string {
	seen := clean(iss, maxIssuer)
	switch {
	case iss == "":
		return fmt.Sprintf("it names no issuer, and the configuration has %q", e.Issuer)
	case strings.TrimRight(iss, "/") == strings.TrimRight(e.Issuer, "/"):
		return fmt.Sprintf("it names %q and the configuration has %q: they differ by a slash at the end, and issuer must be written as the provider writes it", seen, e.Issuer)
	default:
		return fmt.Sprintf("it names %q and the configuration has %q", seen, e.Issuer)
	}
}

// CheckIssuer reports whether an authorization response may be from this provider (RFC
// 9207 section 2.4). It refuses another issuer, and a missing iss if the provider
// always sends one. It compares the issuer if that is known and sent; otherwise each
// app's own redirect URI is the defence (RFC 9700 section 4.4.2).
func (e Entry) CheckIssuer(iss string) bool {
	switch {
	case e.Issuer == "":
		return true
	case iss == "":
		return !e.IssuerSent
	default:
		return iss == e.Issuer
	}
}
