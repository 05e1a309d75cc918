package perennial

import (
	"slices"
	"time"
)

// Scope is a right of an API key.
type Scope string

// The scopes. Each also allows reading connections, their history and apps. Only admin
// includes the others.
const (
	ScopeTokensRead       Scope = "tokens:read"       // read access tokens and have them refreshed
	ScopeConnectionsWrite Scope = "connections:write" // create, repair, pause and disconnect connections
	ScopeTenantsRead      Scope = "tenants:read"      // list across all tenants, with a key of every tenant
	ScopeAdmin            Scope = "admin"             // everything, including webhooks
)

// Scopes lists every scope.
var Scopes = []Scope{ScopeTokensRead, ScopeConnectionsWrite, ScopeTenantsRead, ScopeAdmin}

// APIKey is a key of the HTTP API, of one tenant or of all. It does not contain its
// secret: if the secret is lost, make a new key.
type APIKey struct {
	ID       string `json:"id"`
	TenantID string `json:"tenant_id"` // empty for a key of every tenant
	// EveryTenant: each request with the key names its tenant.
	EveryTenant bool     `json:"every_tenant,omitempty"`
	Name        string   `json:"name,omitempty"` // for people: the key's user
	Scopes      []Scope  `json:"scopes"`
	Apps        []string `json:"apps,omitempty"` // the only ones whose connections it reaches; none: all

	// SecretHash is the SHA-256 of the key's secret part.
	SecretHash []byte `json:"-"`

	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"` // rounded to the hour
	RevokedAt  time.Time `json:"revoked_at,omitzero"`   // zero: in use
	ExpiresAt  time.Time `json:"expires_at,omitzero"`   // zero: never
}

// Works reports whether the key is in use at now.
func (k APIKey) Works(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// Access returns what a caller with the key may reach.
func (k APIKey) Access() (Access, error) {
	actor := Actor{Kind: ActorAPIKey, ID: k.ID}
	access := EveryTenantAccess(actor, k.Scopes...)
	if !k.EveryTenant {
		var err error
		if access, err = TenantAccess(actor, k.TenantID, k.Scopes...); err != nil {
			return Access{}, err
		}
	}
	if len(k.Apps) > 0 {
		access = access.OnApps(k.Apps...)
	}
	return access, nil
}

// Allows reports whether the key has one of the scopes, or admin.
func (k APIKey) Allows(any ...Scope) bool {
	return allows(k.Scopes, any)
}

// allows reports whether one of the wanted scopes, or admin, is among those that there are.
func allows(have, wanted []Scope) bool {
	return slices.ContainsFunc(have, func(s Scope) bool { return s == ScopeAdmin || slices.Contains(wanted, s) })
}
