package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

func (s *shell) apikey() *cobra.Command {
	cmd := &cobra.Command{Use: "apikey", Short: "Keys of the HTTP API, each of one tenant or of all"}
	cmd.AddCommand(s.apikeyCreate(), s.apikeyList(), s.apikeyRevoke())
	return cmd
}

func (s *shell) apikeyCreate() *cobra.Command {
	var wanted newKey
	cmd := &cobra.Command{Use: "create (--tenant TENANT | --every-tenant) --scopes SCOPES", Short: "Make a key; it is printed only once", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("apps") && len(wanted.apps) == 0 {
			return perennial.Errorf(perennial.CodeInvalid, "--apps is empty: leave it out for all apps, or name some")
		}
		k, key, err := wanted.key()
		if err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := wanted.known(deps.Config); err != nil {
				return err
			}
			if wanted.lasts > 0 {
				now, err := deps.DB.Now(cmd.Context())
				if err != nil {
					return err
				}
				k.ExpiresAt = now.Add(wanted.lasts)
			}
			if _, err := api.NewKeyStore(deps.DB).Add(cmd.Context(), perennial.CommandLineAccess(), k); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "key       %s\nid        %s\nThe key is not shown again: only its hash is stored.\n", key.Reveal(), k.ID)
			return nil
		})
	}}
	wanted.flags(cmd)
	return cmd
}

// newKey has the flags of `apikey create`.
type newKey struct {
	tenant, name string
	every        bool
	scopes, apps []string
	lasts        time.Duration
}

func (n *newKey) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&n.tenant, "tenant", "", "the tenant whose connections the key may use")
	f.BoolVar(&n.every, "every-tenant", false, "the product's own key: each of its requests names the tenant in the header Perennial-Tenant")
	f.StringSliceVar(&n.scopes, "scopes", nil, "the key's scopes, separated by commas: "+joinedScopes(perennial.Scopes))
	f.StringSliceVar(&n.apps, "apps", nil, "only connections of these apps, separated by commas; without it of all apps")
	f.DurationVar(&n.lasts, "expires-in", 0, "for how long the key works (2160h); without it until it is revoked")
	f.StringVar(&n.name, "name", "", "a name that tells people who uses the key")
}

// key makes the key that the flags ask for.
func (n *newKey) key() (k perennial.APIKey, whole perennial.Secret, err error) {
	if n.every == (perennial.CheckTenant(n.tenant) == nil) {
		return k, whole, perennial.Errorf(perennial.CodeInvalid, "give either --tenant with a tenant's name, or --every-tenant")
	}
	var scopes []perennial.Scope
	for _, scope := range n.scopes {
		if !slices.Contains(perennial.Scopes, perennial.Scope(scope)) {
			return k, whole, perennial.Errorf(perennial.CodeInvalid, "there is no scope %q; there are: %s", scope, joinedScopes(perennial.Scopes))
		}
		scopes = append(scopes, perennial.Scope(scope))
	}
	if len(scopes) == 0 {
		return k, whole, perennial.Errorf(perennial.CodeInvalid, "give --scopes: %s", joinedScopes(perennial.Scopes))
	}
	if n.lasts < 0 {
		return k, whole, perennial.Errorf(perennial.CodeInvalid, "--expires-in must not be negative")
	}
	k, whole = api.NewKey(n.tenant, n.name, scopes...)
	k.EveryTenant, k.Apps = n.every, n.apps
	return k, whole, nil
}

// known refuses an app that the configuration does not have: the key would reach nothing.
func (n *newKey) known(c *config.Config) error {
	for _, name := range n.apps {
		if _, err := c.Configured(name); err != nil {
			return perennial.Errorf(perennial.CodeInvalid, "--apps: %w", err)
		}
	}
	return nil
}

func joinedScopes(scopes []perennial.Scope) string {
	var out []string
	for _, scope := range scopes {
		out = append(out, string(scope))
	}
	return strings.Join(out, ",")
}

func (s *shell) apikeyList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the keys, without their secrets", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		access, err := accessOf(cmd)
		if err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			all, err := api.NewKeyStore(deps.DB).List(cmd.Context(), access)
			if err != nil {
				return err
			}
			if asJSON {
				return s.json(all)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "ID\tTENANT\tSCOPES\tAPPS\tNAME\tCREATED\tLAST USED\tEXPIRES\tREVOKED")
			for _, k := range all {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, tenantOf(k), joinedScopes(k.Scopes), orAll(strings.Join(k.Apps, ",")), k.Name, instant(k.CreatedAt), instant(k.LastUsedAt), instant(k.ExpiresAt), instant(k.RevokedAt))
			}
			return table.Flush()
		})
	}}
	cmd.Flags().String("tenant", "", "only this tenant's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// tenantOf returns the tenant of a key, for people.
func tenantOf(k perennial.APIKey) string {
	if k.EveryTenant {
		return "(every tenant)"
	}
	return k.TenantID
}

func (s *shell) apikeyRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke ID", Short: "Revoke a key for good", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := api.NewKeyStore(deps.DB).Revoke(cmd.Context(), perennial.CommandLineAccess(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s is revoked; every server refuses it within %s.\n", args[0], api.KeyLasts)
			return nil
		})
	}}
}
