package connect

import "github.com/perennial-oauth/perennial"

// browserAccess is the access of the customer who has a session's link: its tenant and
// its app.
func browserAccess(c perennial.ConnectSession) perennial.Access {
	a, err := perennial.TenantAccess(perennial.Actor{Kind: perennial.ActorBrowser, ID: c.ID}, c.TenantID)
	if err != nil {
		return perennial.Access{}
	}
	return a.OnApps(c.App)
}
