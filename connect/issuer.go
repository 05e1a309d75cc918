package connect

import (
	"net/url"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
)

// mixedUp returns why an authorization response is not from the app's issuer (RFC 9207),
// "" if it may be. to is the app at whose redirect URI it arrived. A response without a
// code needs no issuer: it gives access to nothing.
func mixedUp(c perennial.ConnectSession, app provider.App, to string, response url.Values) string {
	iss := response.Get("iss")
	switch {
	case to != c.App:
		return "it arrived at the redirect URI of another app"
	case app.Provider.CheckIssuer(iss), iss == "" && response.Get("code") == "":
		return ""
	}
	return app.Provider.IssuerProblem(iss)
}
