// Package provider knows OAuth 2.0 token endpoints (RFC 6749): a catalogue of
// real ones, the refresh request, and the reading of what they answer.
package provider

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

const day = 24 * time.Hour

// catalogue lists the known providers in alphabetical order.
var catalogue = []Entry{
	{
		Name:         "generic",
		Title:        "the provider",
		ReplayClass:  perennial.ReplayUnknown,
		ReplaySource: "not documented: the configuration may name it",
		Notes:        "Any RFC 6749 server; its URLs, client authentication and lifetimes come from the configuration.",
	},
	{
		Name:          "hubspot",
		Title:         "HubSpot",
		AuthURL:       "https://app.hubspot.com/oauth/authorize",
		TokenURL:      "https://api.hubapi.com/oauth/v3/token",
		IntrospectURL: "https://api.hubapi.com/oauth/v3/introspect",
		AuthStyle:     oauth2.AuthStyleInParams,
		ReplayClass:   perennial.ReplayUnknown,
		ReplaySource:  "sources conflict: the v1 reference calls the refresh token long-lived and lists no new one, a third party says that the old one dies",
		// Access tokens live 30 min (HubSpot, "OAuth tokens", expires_in 1800).
		DefaultLifetime: 30 * time.Minute,
		Spellings: []Spelling{
			{Code: "BAD_REFRESH_TOKEN", Outcome: perennial.OutcomeRevoked},
			{Code: "BAD_CLIENT_ID", Outcome: perennial.OutcomeMisconfigured},
			{Code: "BAD_CLIENT_SECRET", Outcome: perennial.OutcomeMisconfigured},
			{Code: "RATE_LIMITS", Outcome: perennial.OutcomeRateLimited},
		},
		RequestIDHeader: "X-Hubspot-Correlation-Id",
		MetadataFields:  []string{"hub_id"},
		AccountField:    "portal id",
		Notes:           "The v1 endpoint ends on 2027-02-16; an app that still needs it sets token_url. Whether v3 rotates is not documented: whatever comes back is stored.",
	},
	{
		Name:            "quickbooks",
		Title:           "QuickBooks",
		AuthURL:         "https://appcenter.intuit.com/connect/oauth2",
		TokenURL:        "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
		RevokeURL:       "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
		AuthStyle:       oauth2.AuthStyleInHeader,
		ReplayClass:     perennial.ReplayUnknown,
		ReplaySource:    "the value changes about each 24 h (third party); how long the old one stays good is not documented",
		DefaultLifetime: time.Hour,
		// Rolling 100 days and, since the policy of November 2025, at most five
		// years (Intuit developer blog, 2025-11-12).
		IdleLifetime:    100 * day,
		GrantLifetime:   5 * 365 * day,
		RequestIDHeader: "Intuit_tid",
		MetadataFields:  []string{"realmId"},
		AccountField:    "realm id",
		Notes:           "Sandbox and production share the token endpoint and differ by client: make an app for each. Restricted scopes may end from February 2027; the reply's hard end, where sent, is what counts.",
	},
}

// Lookup finds an entry by name.
func Lookup(name string) (Entry, bool) {
	for _, e := range catalogue {
		if e.Name == name {
			e.Spellings = slices.Clone(e.Spellings)
			e.MetadataFields = slices.Clone(e.MetadataFields)
			return e, true
		}
	}
	return Entry{}, false
}

// Names lists the catalogue in alphabetical order.
func Names() []string {
	var names []string
	for _, e := range catalogue {
		names = append(names, e.Name)
	}
	return names
}

// Validate reports what an entry, with the configuration laid over it, lacks.
func (e Entry) Validate() error {
	switch {
	case e.TokenURL == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: token_url is needed", e.Name)
	case e.AuthStyle != oauth2.AuthStyleInHeader && e.AuthStyle != oauth2.AuthStyleInParams:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: auth_style must be header or params: probing for it would show a refresh token twice", e.Name)
	case !slices.Contains(perennial.ReplayClasses, e.ReplayClass):
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class %q is not one of %v", e.Name, e.ReplayClass, perennial.ReplayClasses)
	case e.ReplaySource == "":
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: say where its replay class is documented", e.Name)
	case e.ReplayClass == perennial.ReplayGrace && e.GraceWindow <= 0:
		return perennial.Errorf(perennial.CodeInvalid, "provider %s: replay_class grace needs a grace_window", e.Name)
	}
	return nil
}

// String names the entry.
func (e Entry) String() string { return fmt.Sprintf("%s (%s)", e.Name, e.TokenURL) }

// requestID is the provider's own id of a request, for support cases.
func (e Entry) requestID(h http.Header) string {
	if e.RequestIDHeader == "" {
		return ""
	}
	return clean(h.Get(e.RequestIDHeader), 64)
}
