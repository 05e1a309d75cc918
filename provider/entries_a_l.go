package provider

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

const notDocumented = "not documented"

var entriesAToL = []Entry{
	{
		Name: "asana", Title: "Asana",
		AuthURL: "https://app.asana.com/-/oauth_authorize", TokenURL: "https://app.asana.com/-/oauth_token", AuthStyle: oauth2.AuthStyleInParams,
		Account:     AccountSource{From: AccountFromReply, Name: "data.gid"}, // the user; Asana, OAuth
		ReplayClass: perennial.ReplayUnknown, ReplaySource: notDocumented,
		DefaultLifetime: time.Hour,
		Notes:           "Lifetimes, rotation and errors are not verified.",
	},
	{
		Name: "atlassian", Title: "Atlassian",
		AuthURL: "https://auth.atlassian.com/authorize", TokenURL: "https://auth.atlassian.com/oauth/token", AuthStyle: oauth2.AuthStyleInParams, JSONBody: true,
		AuthParams:  map[string]string{"audience": "api.atlassian.com", "prompt": "consent"},
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.atlassian.com/oauth/token/accessible-resources", Name: "0.id"}, // the first site
		ReplayClass: perennial.ReplayGrace, GraceWindow: 10 * time.Minute, ReplaySource: "reuse interval of 10 min: third party",
		DefaultLifetime: time.Hour,
		IdleLifetime:    90 * day,
		GrantLifetime:   365 * day,
		Spellings: []Spelling{
			{HTTPStatus: 403, Code: "invalid_grant", Outcome: perennial.OutcomeRevoked},
			// A dead refresh token gets this answer (pipeshub PR 2736, raycast issue
			// 11836). With another text it is the app's fault, as in RFC 6749.
			{HTTPStatus: 403, Code: "unauthorized_client", Contains: "refresh_token", Outcome: perennial.OutcomeRevoked},
		},
		Notes: "The reuse interval, and unauthorized_client for a dead refresh token, are reports of third parties.",
	},
	{
		Name: "box", Title: "Box",
		AuthURL: "https://account.box.com/api/oauth2/authorize", TokenURL: "https://api.box.com/oauth2/token", RevokeURL: "https://api.box.com/oauth2/revoke", AuthStyle: oauth2.AuthStyleInParams,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.box.com/2.0/users/me", Name: "id"},
		ReplayClass: perennial.ReplayGrace, GraceWindow: day, ReplaySource: "the old one gives the same pair until the new one is used (Box's staff in its forum); no end is named, a day is our own bound",
		DefaultLifetime: time.Hour,
		IdleLifetime:    60 * day,
		Notes:           "How long an unused new pair leaves the old one good is not documented.",
	},
	{
		Name: "docusign", Title: "DocuSign",
		AuthURL: "https://account.docusign.com/oauth/auth", TokenURL: "https://account.docusign.com/oauth/token", AuthStyle: oauth2.AuthStyleInHeader,
		Account:     AccountSource{From: AccountFromURL, URL: "https://account.docusign.com/oauth/userinfo", Name: "sub"},
		ReplayClass: perennial.ReplayUnknown, ReplaySource: notDocumented,
		DefaultLifetime: 8 * time.Hour,
		IdleLifetime:    30 * day,
		Notes:           "The extended scope renews the refresh token; rotation is not verified.",
	},
	{
		Name: "dropbox", Title: "Dropbox",
		AuthURL: "https://www.dropbox.com/oauth2/authorize", TokenURL: "https://api.dropboxapi.com/oauth2/token", AuthStyle: oauth2.AuthStyleInParams,
		AuthParams:  map[string]string{"token_access_type": "offline"},         // otherwise there is no refresh token
		Account:     AccountSource{From: AccountFromReply, Name: "account_id"}, // Dropbox, /oauth2/token
		ReplayClass: perennial.ReplayReusable, ReplaySource: "it does not rotate (Dropbox developer pages)",
		DefaultLifetime: 4 * time.Hour,
	},
	{
		Name:         "generic",
		Title:        "the provider",
		ReplayClass:  perennial.ReplayUnknown,
		ReplaySource: "not documented: the configuration may name it",
		Notes:        "Any RFC 6749 server; its URLs, client authentication and lifetimes come from the configuration. One that answers 500 to every refusal never refuses for certain: its connections keep trying.",
	},
	{
		Name: "github", Title: "GitHub",
		AuthURL: "https://github.com/login/oauth/authorize", TokenURL: "https://github.com/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.github.com/user", Name: "id"},
		ReplayClass: perennial.ReplaySingleUse, ReplaySource: "the old pair dies with its use (GitHub, refreshing user access tokens)",
		DefaultLifetime: 8 * time.Hour,
		IdleLifetime:    180 * day,
		RateLimitScope:  ScopeApp, // 2,000 token requests an hour for each app

		RefreshKillsAccessToken: true,
		Spellings: []Spelling{ // errors come with status 200
			{Code: "bad_refresh_token", Outcome: perennial.OutcomeRevoked},
		},
		RequestIDHeader: "X-Github-Request-Id",
		Notes:           "GitHub Apps with expiring user tokens.",
	},
	{
		Name: "google", Title: "Google",
		AuthURL: "https://accounts.google.com/o/oauth2/v2/auth", TokenURL: "https://oauth2.googleapis.com/token", RevokeURL: "https://oauth2.googleapis.com/revoke", AuthStyle: oauth2.AuthStyleInParams,
		// A refresh token comes only with offline access, and comes again only with a
		// new consent.
		AuthParams:    map[string]string{"access_type": "offline", "prompt": "consent"},
		Issuer:        "https://accounts.google.com",
		ScopesUnnamed: []string{"email", "profile"},                         // the reply has them under other names
		Account:       AccountSource{From: AccountFromIDToken, Name: "sub"}, // needs the scope openid
		ReplayClass:   perennial.ReplayReusable, ReplaySource: "it does not rotate (Google, using OAuth 2.0)",
		DefaultLifetime: time.Hour,
		IdleLifetime:    180 * day,
		Notes:           "A consent screen in testing gives grants of 7 days; the 101st refresh token of an account and client ends the oldest in silence.",
	},
	{
		Name:          "hubspot",
		Title:         "HubSpot",
		AuthURL:       "https://app.hubspot.com/oauth/authorize",
		TokenURL:      "https://api.hubapi.com/oauth/v3/token",
		IntrospectURL: "https://api.hubapi.com/oauth/v3/token/introspect",
		RevokeURL:     "https://api.hubapi.com/oauth/v3/token/revoke", // HubSpot, "Revoke an OAuth token": refresh tokens
		AuthStyle:     oauth2.AuthStyleInParams,
		// Every token reply has had hub_id and scopes since 2025-08-18 (HubSpot
		// changelog, "Additional details returned when generating OAuth access
		// tokens"). The introspection's reference of 2026-09 lists hub_id too, that of
		// v3 only active, which is all that a third party got; so it is not used.
		Account:      AccountSource{From: AccountFromReply, Name: "hub_id"},
		ReplayClass:  perennial.ReplayUnknown,
		ReplaySource: "sources conflict: the v1 reference calls the refresh token long-lived and lists no new one, a third party says that the old one dies",
		// Access tokens live 30 min (HubSpot, "OAuth tokens", expires_in 1800).
		DefaultLifetime: 30 * time.Minute,
		Spellings: []Spelling{
			{Code: "BAD_REFRESH_TOKEN", Outcome: perennial.OutcomeRevoked},
			{Code: "RATE_LIMITS", Outcome: perennial.OutcomeRateLimited},
		},
		RequestIDHeader: "X-Hubspot-Correlation-Id",
		MetadataFields:  []string{"hub_id"},
		AccountField:    "portal id",
		Notes:           "The v1 endpoint ends on 2027-02-16; an app that still needs it sets token_url. Whether v3 rotates is not documented: whatever comes back is stored.",
	},
	{
		Name: "linkedin", Title: "LinkedIn",
		AuthURL: "https://www.linkedin.com/oauth/v2/authorization", TokenURL: "https://www.linkedin.com/oauth/v2/accessToken", AuthStyle: oauth2.AuthStyleInParams,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.linkedin.com/v2/userinfo", Name: "sub"}, // needs the scope openid
		ReplayClass: perennial.ReplayUnknown, ReplaySource: notDocumented,
		DefaultLifetime: 60 * day,
		GrantLifetime:   365 * day, // from the first grant; the reply counts it down
		Notes:           "Refresh tokens are for approved partners. Rotation is not verified.",
	},
}
