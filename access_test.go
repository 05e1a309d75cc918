package perennial_test

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var someKey = perennial.Actor{Kind: perennial.ActorAPIKey, ID: "pk_1"}

// TestAccess: an access reaches what it names and nothing else, and narrowing never
// widens it.
func TestAccess(t *testing.T) {
	acme, err := perennial.TenantAccess(someKey, "acme", perennial.ScopeTokensRead)
	require.NoError(t, err)
	every := perennial.EveryTenantAccess(someKey)
	narrow := func(a perennial.Access, tenant string) perennial.Access {
		a, err := a.InTenant(tenant)
		require.NoError(t, err)
		return a
	}
	for name, c := range map[string]struct {
		access      perennial.Access
		acme, other bool // their connections of the app crm
	}{
		"nothing":                  {perennial.Access{}, false, false},
		"one tenant":               {acme, true, false},
		"all":                      {every, true, true},
		"worker":                   {perennial.WorkerAccess(), true, true},
		"command line":             {perennial.CommandLineAccess(), true, true},
		"all, narrowed":            {narrow(every, "acme"), true, false},
		"one, narrowed to itself":  {narrow(acme, "acme"), true, false},
		"one, narrowed to another": {narrow(acme, "other"), false, false},
		"narrowed twice":           {narrow(narrow(every, "acme"), "other"), false, false},
		"nothing, narrowed":        {narrow(perennial.Access{}, "acme"), false, false},
		"on the app":               {acme.OnApps("crm", "books"), true, false},
		"on another app":           {acme.OnApps("books"), false, false},
		"on no app":                {every.OnApps(), false, false},
		"on apps, narrowed":        {every.OnApps("books").OnApps("crm"), false, false},
		"on apps, widened":         {every.OnApps("crm").OnApps("crm", "books"), true, true},
	} {
		assert.Equal(t, c.acme, c.access.Reaches("acme", "crm"), name)
		assert.Equal(t, c.other, c.access.Reaches("other", "crm"), name)
		assert.False(t, c.access.Reaches("", "crm") && !c.access.EveryTenant(), name)
	}
}

// TestAccessToNobody: an empty tenant is refused, and never means all.
func TestAccessToNobody(t *testing.T) {
	_, err := perennial.TenantAccess(someKey, "")
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	_, err = perennial.WorkerAccess().InTenant("")
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	_, err = perennial.WorkerAccess().OneTenant()
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), "all of them are not one")
	_, err = perennial.Access{}.OneTenant()
	assert.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	_, one := perennial.WorkerAccess().Tenant()
	assert.False(t, one)
	assert.False(t, perennial.Access{}.Allows(perennial.ScopeTokensRead))
}

// TestAccessRights: a right is held by name, or by admin.
func TestAccessRights(t *testing.T) {
	a, err := perennial.TenantAccess(someKey, "acme", perennial.ScopeTokensRead)
	require.NoError(t, err)
	assert.True(t, a.Allows(perennial.ScopeConnectionsWrite, perennial.ScopeTokensRead))
	assert.False(t, a.Allows(perennial.ScopeConnectionsWrite))
	assert.True(t, perennial.CommandLineAccess().Allows(perennial.ScopeConnectionsWrite))
}
