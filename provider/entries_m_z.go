package provider

import (
	"time"

	"github.com/perennial-oauth/perennial"
	"golang.org/x/oauth2"
)

var entriesMToZ = []Entry{
	{
		Name: "microsoft", Title: "Microsoft",
		AuthURL: "https://login.microsoftonline.com/common/oauth2/v2.0/authorize", TokenURL: "https://login.microsoftonline.com/common/oauth2/v2.0/token", AuthStyle: oauth2.AuthStyleInParams,
		ScopesUnnamed: []string{"offline_access", "openid", "profile", "email"},
		Account:       AccountSource{From: AccountFromIDToken, Name: "sub"}, // of the user, for this app; needs the scope openid
		ReplayClass:   perennial.ReplayReusable, ReplaySource: "a used refresh token is not revoked (Microsoft, refresh tokens)",
		DefaultLifetime: time.Hour,
		IdleLifetime:    90 * day,
		Spellings: []Spelling{ // the user must sign in again, whatever the code; Microsoft may renumber them
			{HTTPStatus: 400, Contains: "AADSTS700082:", Outcome: perennial.OutcomeRevoked}, // unused for too long
			{HTTPStatus: 400, Contains: "AADSTS70008:", Outcome: perennial.OutcomeRevoked},  // expired
			{HTTPStatus: 400, Contains: "AADSTS700084:", Outcome: perennial.OutcomeRevoked}, // a single-page app's 24 h
			{HTTPStatus: 400, Contains: "AADSTS50173:", Outcome: perennial.OutcomeRevoked},  // the password was changed
			{HTTPStatus: 400, Contains: "AADSTS50076:", Outcome: perennial.OutcomeRevoked},  // a second factor is required
		},
		RequestIDHeader: "X-Ms-Request-Id",
		Notes:           "Single-page apps and one-time passcodes: 24 h; set idle_lifetime. A tenant of its own sets auth_url and token_url. The access token's life, 60 to 90 min, is not verified, and the codes are from a third party.",
	},
	{
		Name: "notion", Title: "Notion",
		AuthURL: "https://api.notion.com/v1/oauth/authorize", TokenURL: "https://api.notion.com/v1/oauth/token", AuthStyle: oauth2.AuthStyleInHeader, JSONBody: true,
		AuthParams:  map[string]string{"owner": "user"},
		Account:     AccountSource{From: AccountFromReply, Name: "workspace_id"}, // Notion changelog; never null
		ReplayClass: perennial.ReplayUnknown, ReplaySource: notDocumented,
		MetadataFields: []string{"workspace_id", "bot_id"},
		AccountField:   "workspace id",
		Notes:          "No lifetime is named: set default_lifetime, or its health shows no_lifetime. Lifetimes, errors and what becomes of the old pair are not verified.",
	},
	{
		Name: "pipedrive", Title: "Pipedrive",
		AuthURL: "https://oauth.pipedrive.com/oauth/authorize", TokenURL: "https://oauth.pipedrive.com/oauth/token", AuthStyle: oauth2.AuthStyleInHeader,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.pipedrive.com/v1/users/me", Name: "data.company_id"}, // Pipedrive, "Getting user data"
		ReplayClass: perennial.ReplayUnknown, ReplaySource: notDocumented,
		DefaultLifetime: time.Hour,
		IdleLifetime:    60 * day,
		MetadataFields:  []string{"api_domain"},
		Notes:           "The idle life is from a third party; rotation and errors are not verified.",
	},
	{
		Name:      "quickbooks",
		Title:     "QuickBooks",
		AuthURL:   "https://appcenter.intuit.com/connect/oauth2",
		TokenURL:  "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
		RevokeURL: "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
		AuthStyle: oauth2.AuthStyleInHeader,
		// The callback names the company, for the accounting and payments scopes; the
		// token reply does not (Intuit, OAuth 2.0).
		Account:         AccountSource{From: AccountFromCallback, Name: "realmId"},
		ReplayClass:     perennial.ReplayUnknown,
		ReplaySource:    "the value changes about each 24 h (third party); how long the old one stays good is not documented",
		DefaultLifetime: time.Hour,
		// 100 days from the last use and, since the policy of November 2025, at most
		// five years (Intuit developer blog, 2025-11-12).
		IdleLifetime:    100 * day,
		GrantLifetime:   5 * 365 * day,
		RequestIDHeader: "Intuit_tid",
		MetadataFields:  []string{"realmId"},
		AccountField:    "realm id",
		Notes:           "Sandbox and production share the token endpoint and differ by client: make an app for each. Restricted scopes may end from February 2027; the reply's hard end, where sent, is what counts.",
	},
	{
		Name: "salesforce", Title: "Salesforce",
		AuthURL: "https://{host}/services/oauth2/authorize", TokenURL: "https://{host}/services/oauth2/token", IntrospectURL: "https://{host}/services/oauth2/introspect",
		RevokeURL: "https://{host}/services/oauth2/revoke", AuthStyle: oauth2.AuthStyleInParams, HostSuffixes: []string{".salesforce.com"},
		ReplayClass: perennial.ReplayReuseRevokes, ReplaySource: "with refresh token rotation, showing a used one revokes the current tokens (third party quoting Salesforce); without rotation nothing is lost by the care",
		// No reply has a lifetime: it is the org's session timeout, 2 h by default.
		DefaultLifetime: 2 * time.Hour,
		IdleLifetime:    30 * day, // for partner apps
		MetadataFields:  []string{"instance_url", "id"},
		AccountField:    "organisation id",
		Notes:           "Its connect links need account: {from: url, ...} with the URL of userinfo and organization_id. An org may set a shorter session timeout (15 min at least): set default_lifetime then. The 2 h are not verified.",
	},
	{
		Name: "shopify", Title: "Shopify",
		AuthURL: "https://{host}/admin/oauth/authorize", TokenURL: "https://{host}/admin/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams, HostSuffixes: []string{".myshopify.com"},
		ScopeSeparator: ",",
		Account:        AccountSource{From: AccountFromHost},
		ReplayClass:    perennial.ReplayGrace, GraceWindow: 30 * day, ReplaySource: "since 2026-08-28 the old one may be shown until the new one is used, up to 30 days (Shopify changelog)",
		DefaultLifetime: time.Hour,
		IdleLifetime:    90 * day,
		RefreshParams:   map[string]string{"expiring": "1"},
		AccountField:    "shop",
		Notes:           "The grace ends as soon as the new refresh token is used; how a dead one is refused is not verified.",
	},
	{
		Name: "slack", Title: "Slack",
		AuthURL: "https://slack.com/oauth/v2/authorize", TokenURL: "https://slack.com/api/oauth.v2.access", AuthStyle: oauth2.AuthStyleInParams,
		ScopeSeparator: ",",
		Account:        AccountSource{From: AccountFromReply, Name: "team.id"}, // Slack, oauth.v2.access
		ReplayClass:    perennial.ReplaySingleUse, ReplaySource: "a used one is revoked (Slack, using token rotation)",
		DefaultLifetime: 12 * time.Hour,
		Spellings: []Spelling{ // errors come with status 200 and ok false
			{Code: "invalid_refresh_token", Outcome: perennial.OutcomeRevoked},
			{Code: "ratelimited", Outcome: perennial.OutcomeRateLimited},
			// After these Slack may have done part of the work (Slack, errors of its methods).
			{Code: "internal_error", Outcome: perennial.OutcomeUnknown},
			{Code: "fatal_error", Outcome: perennial.OutcomeUnknown},
		},
		TokensUnder:     "authed_user",
		RequestIDHeader: "X-Slack-Req-Id",
		AccountField:    "team id",
		Notes:           "A bot's token, or a user's own (authed_user) where the reply has no bot's: each has a refresh token of its own and is a connection of its own. How many pairs may live side by side is not verified. An install for a whole organisation has no team: set account with the name enterprise.id.",
	},
	{
		Name: "square", Title: "Square",
		AuthURL: "https://connect.squareup.com/oauth2/authorize", TokenURL: "https://connect.squareup.com/oauth2/token", AuthStyle: oauth2.AuthStyleInParams, JSONBody: true,
		Account:     AccountSource{From: AccountFromReply, Name: "merchant_id"}, // Square, ObtainToken
		ReplayClass: perennial.ReplayUnknown, ReplaySource: "the code flow answers with the same one, which does not expire; PKCE's is single use and lives for 90 days (Square, ObtainToken); nothing in a reply says which it was: not documented",
		DefaultLifetime: 30 * day,
		MetadataFields:  []string{"merchant_id"},
		AccountField:    "merchant id",
		Notes:           "Replies name an instant, expires_at, instead of a lifetime. Errors are not verified.",
	},
	{
		Name: "stripe-apps", Title: "Stripe",
		AuthURL: "https://marketplace.stripe.com/oauth/v2/authorize", TokenURL: "https://api.stripe.com/v1/oauth/token", AuthStyle: oauth2.AuthStyleInHeader, SecretAsUser: true,
		Account:     AccountSource{From: AccountFromReply, Name: "stripe_user_id"},
		ReplayClass: perennial.ReplayUnknown, ReplaySource: "it rotates (third party); what becomes of the old one is not documented",
		// No reply has a lifetime; other clients use an hour (nango PR 1780).
		DefaultLifetime: time.Hour,
		IdleLifetime:    365 * day,
		RequestIDHeader: "Request-Id",
		MetadataFields:  []string{"stripe_user_id"},
		AccountField:    "account id",
		Notes:           "The client secret is the app's API key, for each mode its own. The year of the refresh token and the auth_url are not verified.",
	},
	{
		Name: "xero", Title: "Xero",
		AuthURL: "https://login.xero.com/identity/connect/authorize", TokenURL: "https://identity.xero.com/connect/token", RevokeURL: "https://identity.xero.com/connect/revocation", AuthStyle: oauth2.AuthStyleInHeader,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.xero.com/connections", Name: "0.tenantId"}, // the first organisation; Xero, "Connections"
		ReplayClass: perennial.ReplayGrace, GraceWindow: 30 * time.Minute, ReplaySource: "a lost reply may be asked for again for 30 min (Xero, OAuth 2.0 FAQ)",
		DefaultLifetime: 30 * time.Minute,
		IdleLifetime:    60 * day,
		AccountField:    "organisation id",
		Notes:           "The grace covers a reply that was lost, not any later use of the old refresh token.",
	},
	{
		Name: "zendesk", Title: "Zendesk",
		AuthURL: "https://{host}/oauth/authorizations/new", TokenURL: "https://{host}/oauth/tokens", AuthStyle: oauth2.AuthStyleInParams, JSONBody: true, HostSuffixes: []string{".zendesk.com"},
		Account:     AccountSource{From: AccountFromHost},
		ReplayClass: perennial.ReplaySingleUse, ReplaySource: "a refresh deletes the pair before it (Zendesk changelog)",
		DefaultLifetime: 30 * time.Minute,
		IdleLifetime:    30 * day,
		RefreshParams:   map[string]string{"expires_in": "1800"}, // without it the token never expires

		RefreshKillsAccessToken: true,
		AccountField:            "subdomain",
		Notes:                   "expires_in is sent as text, not as a number: that it is taken so is not verified, nor are the errors.",
	},
	{
		Name: "zoho", Title: "Zoho",
		AuthURL: "https://{host}/oauth/v2/auth", TokenURL: "https://{host}/oauth/v2/token", RevokeURL: "https://{host}/oauth/v2/token/revoke", AuthStyle: oauth2.AuthStyleInParams,
		HostSuffixes:   []string{"accounts.zoho.com", "accounts.zoho.eu", "accounts.zoho.in", "accounts.zoho.com.au", "accounts.zoho.jp"},
		AuthParams:     map[string]string{"access_type": "offline", "prompt": "consent"},
		ScopeSeparator: ",",
		ReplayClass:    perennial.ReplayReusable, ReplaySource: "it does not rotate (Zoho, OAuth)",
		DefaultLifetime: time.Hour,
		Spellings: []Spelling{
			// The limit is ten access tokens for each refresh token in ten minutes; the
			// answer has status 200.
			{Code: "Access Denied", Contains: "too many requests", Outcome: perennial.OutcomeRateLimited},
			{Code: "invalid_code", Outcome: perennial.OutcomeRevoked},
		},
		MetadataFields: []string{"api_domain"},
		Notes:          "The 21st refresh token of a user ends the first. Another data centre answers invalid_client.",
	},
	{
		Name: "zoom", Title: "Zoom",
		AuthURL: "https://zoom.us/oauth/authorize", TokenURL: "https://zoom.us/oauth/token", RevokeURL: "https://zoom.us/oauth/revoke", AuthStyle: oauth2.AuthStyleInHeader,
		Account:     AccountSource{From: AccountFromURL, URL: "https://api.zoom.us/v2/users/me", Name: "account_id"},
		ReplayClass: perennial.ReplayUnknown, ReplaySource: "it rotates and the newest must be used (third party)",
		DefaultLifetime: time.Hour,
		IdleLifetime:    90 * day, // according to most sources; an old one says 15 years
		// The text is in the member reason: third parties saw it with 401, and since
		// 2022 with 400 and invalid_grant.
		Spellings: []Spelling{{HTTPStatus: 401, Contains: "Invalid Token", Outcome: perennial.OutcomeRevoked}},
		Notes:     "The refresh token's life is not verified.",
	},
}
