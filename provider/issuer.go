package provider

import (
	"fmt"
	"strings"

	"github.com/perennial-oauth/perennial"
)

// CheckIssuer returns an error if an authorization response cannot be from this provider
// (RFC 9207 section 2.4): it names another issuer, or none although the provider always
// names one. It compares the issuer if that is known and sent; otherwise each app's own
// redirect URI is the defence (RFC 9700 section 4.4.2).
func (e Entry) CheckIssuer(iss string) error {
	if why := e.issuerProblem(iss); why != "" {
		return perennial.Errorf(perennial.CodeInvalid, "the authorization response %s", why)
	}
	return nil
}

// issuerProblem says why iss is not this provider's, "" if it is, or if nobody knows.
// Issuers are compared letter by letter (RFC 9207 section 2.4, OpenID Connect Core
// section 3.1.3.7): the text names both, so that a configuration can be mended.
func (e Entry) issuerProblem(iss string) string {
	switch {
	case e.Issuer == "", e.Issuer == iss, iss == "" && !e.IssuerSent:
		return ""
	case iss == "":
		return fmt.Sprintf("names no issuer (iss), but issuer_sent says that each one of %q does: leave issuer_sent out if the provider does not", e.Issuer)
	}
	why := fmt.Sprintf("is from issuer %q, but the app's issuer is %q", clean(iss, maxIssuer), e.Issuer)
	if strings.TrimSuffix(iss, "/") == strings.TrimSuffix(e.Issuer, "/") {
		why += ": they differ in the slash at the end only, so set issuer to the first"
	}
	return why
}

// maxIssuer bounds the issuer in a text, in bytes: anybody can write one.
const maxIssuer = 200
