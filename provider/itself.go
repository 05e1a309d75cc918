package provider

import (
	"cmp"
	"net/url"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/plainurl"
	"golang.org/x/oauth2"
)

// DescribesItself reports whether the entry is completed by what its issuer or its MCP
// server says: it names one, and no token endpoint or no client authentication.
func (e Entry) DescribesItself() bool {
	return (e.Issuer != "" || e.MCP != "") && (e.TokenURL == "" || e.AuthStyle == oauth2.AuthStyleAutoDetect)
}

// validateIssuer refuses an issuer whose metadata cannot be read (RFC 8414 section 2).
func (e Entry) validateIssuer() error {
	if e.Issuer == "" {
		return nil
	}
	why := plainurl.Bad(e.Issuer)
	if u, err := url.Parse(e.Issuer); err == nil && why == "" && u.RawQuery != "" {
		why = "must have no query"
	}
	if why != "" {
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: without token_url and auth_style, its issuer says them (RFC 8414); but issuer %s", e.Name, why)
	}
	return nil
}

// standIn returns the entry with something in the place of everything that metadata may
// say, so that the rest can be checked.
func (e Entry) standIn() Entry {
	const endpoint = "https://issuer.invalid/"
	e.TokenURL, e.IntrospectURL = cmp.Or(e.TokenURL, endpoint), cmp.Or(e.IntrospectURL, endpoint)
	e.AuthStyle = cmp.Or(e.AuthStyle, oauth2.AuthStyleInHeader)
	e.Issuer = cmp.Or(e.Issuer, endpoint)
	return e
}
