package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/internal/printable"
)

// tenantHeader names the tenant of a request. It is a header and no parameter: it is part
// of who acts, like the key beside it, it has one place in every operation, and no log of
// URLs has it.
const (
	tenantHeader = "Perennial-Tenant"
	maxTenant    = 255
)

// tenant returns the tenant of a request, for logs. It is empty if the request names none.
func (c *call) tenant() string {
	name, _ := c.access.Tenant()
	return name
}

// resolve sets the access of a request: what its key reaches, narrowed to the tenant that
// the request names.
func (c *call) resolve(r *http.Request, op *huma.Operation) *Problem {
	access, err := c.key.Access()
	if err != nil {
		return problemOf(err)
	}
	given := r.Header.Values(tenantHeader)
	if len(given) == 0 {
		c.access = access
		return withoutTenant(access, op)
	}
	if len(given) > 1 || len(given[0]) > maxTenant || !printable.Is(given[0]) {
		return noTenantGiven("is not one name of 1 to 255 bytes without control or invisible characters")
	}
	narrowed, err := access.InTenant(given[0])
	if err != nil {
		return noTenantGiven("is empty")
	}
	if narrowed.IsZero() {
		return problem(wire.CodeScope, "The API key is of another tenant than the header %s names: leave it out, or use that tenant's key.", tenantHeader)
	}
	c.access = narrowed
	return nil
}

// withoutTenant refuses a request that names no tenant, unless its key is of one tenant,
// or the operation needs none.
func withoutTenant(access perennial.Access, op *huma.Operation) *Problem {
	if !access.EveryTenant() {
		return nil
	}
	switch tenantNeedOf(op) {
	case knowsNoOwner:
		return nil
	case listsAcross:
		if access.Allows(perennial.ScopeTenantsRead) {
			return nil
		}
		return noTenantGiven("is missing, and the API key may not list across tenants: that takes the scope " + string(perennial.ScopeTenantsRead))
	}
	return noTenantGiven("is missing: the API key is of every tenant, so each request names one")
}

// noTenantGiven has a code of its own: clients take invalid, with an id in the path, for an
// id that no connection can have, and would forget the connection.
func noTenantGiven(says string) *Problem {
	p := problem(codeTenant, "The header %s %s.", tenantHeader, says)
	p.Errors = []wire.Invalid{{Location: "header." + tenantHeader, Message: says}}
	return p
}

// tenantParameter describes the header in the OpenAPI document.
func tenantParameter(need tenantNeed) *huma.Param {
	text := "The tenant that the request is for, with an API key of every tenant. With a key of one tenant it may be left out, and must be that tenant."
	if need == listsAcross {
		text += " Without it a key of every tenant with the scope `tenants:read` sees what all tenants have."
	}
	return &huma.Param{Name: tenantHeader, In: "header", Description: text,
		Schema: &huma.Schema{Type: huma.TypeString, MinLength: new(1), MaxLength: new(maxTenant)}}
}
