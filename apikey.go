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
	ScopeAdmin            Scope = "admin"             // everything, including webhooks
)

// Scopes lists every scope.
var Scopes = []Scope{ScopeTokensRead, ScopeConnectionsWrite, ScopeAdmin}

// APIKey is a key of the HTTP API. It is bound to one tenant. It does not contain its
// secret: if the secret is lost, make a new key.
type APIKey struct {
	ID       string  `json:"id"`
	TenantID string  `json:"tenant_id"`
	Name     string  `json:"name,omitempty"` // for people: the key's user
	Scopes   []Scope `json:"scopes"`

	// SecretHash is the SHA-256 of the key's secret part.
	SecretHash []byte `json:"-"`

	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"` // rounded to the hour
	RevokedAt  time.Time `json:"revoked_at,omitzero"`   // zero: in use
}

// Access returns what whoever presents the key may reach.
func (k APIKey) Access() (Access, error) {
	return TenantAccess(Actor{Kind: ActorAPIKey, ID: k.ID}, k.TenantID, k.Scopes...)
}

// Allows reports whether the key has one of the scopes, or admin.
func (k APIKey) Allows(any ...Scope) bool {
	return allows(k.Scopes, any)
}

// allows reports whether one of the wanted scopes, or admin, is among those that there are.
func allows(have, wanted []Scope) bool {
	return slices.ContainsFunc(have, func(s Scope) bool { return s == ScopeAdmin || slices.Contains(wanted, s) })
}
