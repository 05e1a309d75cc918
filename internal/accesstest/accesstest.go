// Package accesstest makes accesses for tests.
package accesstest

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
)

// Of returns the access of an API key of one tenant.
func Of(t testing.TB, tenant string, rights ...perennial.Scope) perennial.Access {
	t.Helper()
	a, err := perennial.TenantAccess(perennial.Actor{Kind: perennial.ActorAPIKey, ID: "pk_test"}, tenant, rights...)
	require.NoError(t, err)
	return a
}
