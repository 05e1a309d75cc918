package sim

import (
	"time"

	"github.com/perennial-oauth/perennial/provider"
)

// Apps returns the default fleet. Its shares are invented; its lives are the
// catalogue's.
func Apps() []App {
	apps := []App{
		{Name: "hubspot", Share: 0.25, Limit: 400, Source: "HubSpot, OAuth tokens: expires_in 1800"},
		{Name: "quickbooks", Share: 0.25, Limit: 250, Source: "Intuit, OAuth 2.0: 3600 s"},
		{Name: "google", Share: 0.15, Source: "Google, using OAuth 2.0: 3600 s"},
		{Name: "salesforce", Share: 0.10, Source: "Salesforce, session timeout: 2 h unless the org says otherwise (not verified)"},
		// The catalogue has an hour, the shortest of its lives.
		{Name: "microsoft", Share: 0.08, LifeTo: 90 * time.Minute, Source: "Microsoft, access tokens: random, 60 to 90 min"},
		{Name: "xero", Share: 0.03, Buffer: provider.BufferRealtime, Source: "Xero, token types: 30 min"},
		{Name: "shopify", Share: 0.03, Buffer: provider.BufferShare, Source: "Shopify, expiring offline tokens: 60 min"},
		{Name: "dropbox", Share: 0.03, Source: "Dropbox, OAuth guide: 14400 s"},
		{Name: "docusign", Share: 0.02, Source: "DocuSign, authorization code grant: 28800 s"},
		{Name: "slack", Share: 0.03, Source: "Slack, token rotation: 12 h"},
		{Name: "zendesk", Share: 0.01, Life: 24 * time.Hour, Source: "Zendesk: what is asked for, 5 min to 48 h; here a day"},
		{Name: "square", Share: 0.02, Source: "Square, OAuth: 30 days; a refresh token rests for a day at most"},
	}
	for i := range apps {
		a := &apps[i]
		a.Provider = a.Name
		if e, ok := provider.Lookup(a.Name); ok && a.Life == 0 {
			a.Life = e.DefaultLifetime
		}
		if a.Buffer == "" {
			a.Buffer = provider.BufferQueue
		}
	}
	return apps
}

// Outages are the default outages.
var Outages = []Outage{
	{App: "hubspot", At: 24 * time.Hour, For: 30 * time.Minute},
	{App: "google", At: 36 * time.Hour, For: 10 * time.Minute},
}

// Imports are the default imports: a fifth of the fleet, with one expiry.
var Imports = []Import{{App: "quickbooks", At: 4 * time.Hour, Share: 0.20, Left: 50 * time.Minute}}
