package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

func (s *shell) apikey() *cobra.Command {
	cmd := &cobra.Command{Use: "apikey", Short: "Keys of the HTTP API, each of one tenant"}
	cmd.AddCommand(s.apikeyCreate(), s.apikeyList(), s.apikeyRevoke())
	return cmd
}

func (s *shell) apikeyCreate() *cobra.Command {
	var tenant, name string
	var scopes []string
	cmd := &cobra.Command{Use: "create --tenant TENANT --scopes SCOPES", Short: "Make a key; it is printed only once", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		if tenant == "" {
			return perennial.Errorf(perennial.CodeInvalid, "give --tenant: each key belongs to exactly one tenant")
		}
		var wanted []perennial.Scope
		for _, scope := range scopes {
			if !slices.Contains(perennial.Scopes, perennial.Scope(scope)) {
				return perennial.Errorf(perennial.CodeInvalid, "there is no scope %q; there are: %s", scope, joinedScopes(perennial.Scopes))
			}
			wanted = append(wanted, perennial.Scope(scope))
		}
		if len(wanted) == 0 {
			return perennial.Errorf(perennial.CodeInvalid, "give --scopes: %s", joinedScopes(perennial.Scopes))
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			k, key := api.NewKey(tenant, name, wanted...)
			if _, err := api.NewKeyStore(deps.DB).Add(cmd.Context(), k); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "key       %s\nid        %s\nThe key is not shown again: only its hash is stored.\n", key.Reveal(), k.ID)
			return nil
		})
	}}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the tenant whose connections the key may use")
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "the key's scopes, separated by commas: "+joinedScopes(perennial.Scopes))
	cmd.Flags().StringVar(&name, "name", "", "a name that tells people who uses the key")
	return cmd
}

func joinedScopes(scopes []perennial.Scope) string {
	var out []string
	for _, scope := range scopes {
		out = append(out, string(scope))
	}
	return strings.Join(out, ",")
}

func (s *shell) apikeyList() *cobra.Command {
	var tenant string
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the keys, without their secrets", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			all, err := api.NewKeyStore(deps.DB).List(cmd.Context(), tenant)
			if err != nil {
				return err
			}
			if asJSON {
				return s.json(all)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "ID\tTENANT\tSCOPES\tNAME\tCREATED\tLAST USED\tREVOKED")
			for _, k := range all {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.TenantID, joinedScopes(k.Scopes), k.Name, instant(k.CreatedAt), instant(k.LastUsedAt), instant(k.RevokedAt))
			}
			return table.Flush()
		})
	}}
	cmd.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) apikeyRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke ID", Short: "Revoke a key for good", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := api.NewKeyStore(deps.DB).Revoke(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s is revoked; every server refuses it within %s.\n", args[0], api.KeyLasts)
			return nil
		})
	}}
}
