package cli

import (
	"github.com/perennial-oauth/perennial"
	"github.com/spf13/cobra"
)

// accessOf returns the operator's access, narrowed to the tenant of the flag --tenant if
// that is given. An empty one, as of a variable that is not set, is refused: it does not
// mean all tenants.
func accessOf(cmd *cobra.Command) (perennial.Access, error) {
	all := perennial.CommandLineAccess()
	f := cmd.Flags().Lookup("tenant")
	if f == nil || !f.Changed {
		return all, nil
	}
	access, err := all.InTenant(f.Value.String())
	if err != nil {
		return access, perennial.Errorf(perennial.CodeInvalid, "--tenant is empty: leave it out for all tenants, or name one")
	}
	return access, nil
}
