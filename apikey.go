package perennial

import (
	"slices"
	"time"
)

// Scope is what an API key may do.
type Scope string

// The scopes. Each also allows reading connections, their history and apps; none
// but admin allows what the others do.
const (
	ScopeTokensRead       Scope = "tokens:read"       // access tokens, and having them refreshed
	ScopeConnectionsWrite Scope = "connections:write" // making, repairing, pausing and ending connections
	ScopeAdmin            Scope = "admin"             // all of it, and webhooks
)

// Scopes lists every scope.
var Scopes = []Scope{ScopeTokensRead, ScopeConnectionsWrite, ScopeAdmin}

// APIKey is a key of the HTTP API. It is bound to one tenant. Its secret is not in
// it: who has lost it makes a new key.
type APIKey struct {
	ID       string  `json:"id"`
	TenantID string  `json:"tenant_id"`
	Name     string  `json:"name,omitempty"` // for people: whose key it is
	Scopes   []Scope `json:"scopes"`

	// SecretHash is the SHA-256 of the key's secret part.
	SecretHash []byte `json:"-"`

	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"` // to the hour
	RevokedAt  time.Time `json:"revoked_at,omitzero"`   // zero: in use
}

// Allows reports whether the key has one of the scopes, or admin.
func (k APIKey) Allows(any ...Scope) bool {
	return slices.ContainsFunc(k.Scopes, func(s Scope) bool { return s == ScopeAdmin || slices.Contains(any, s) })
}
