package cli

import (
	"context"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// pinned returns an app of the configuration, complete with its pinned metadata. Without a
// pin it returns the app as it is configured. It reads nothing from the provider.
func pinned(ctx context.Context, deps *wiring.Deps, name string) (app provider.App, shown discovery.Shown, err error) {
	if app, err = deps.Config.Configured(name); err != nil {
		return app, shown, err
	}
	source, ok := discovery.SourceOf(app)
	if !ok {
		return app, shown, nil
	}
	pin, err := deps.Store.ProviderMetadata(ctx, name, source.String())
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return app, shown, nil
	}
	if err == nil {
		shown, err = discovery.Show(pin)
	}
	if err != nil {
		return app, shown, err
	}
	done, err := discovery.Complete(app, shown.Metadata, deps.Config.Discovery.AllowPrivate)
	if err != nil {
		return app, shown, err
	}
	return done, shown, nil
}

// describesItself refuses an app whose provider does not.
func describesItself(deps *wiring.Deps, name string) (discovery.Source, error) {
	app, err := deps.Config.Configured(name)
	if err != nil {
		return discovery.Source{}, err
	}
	source, ok := discovery.SourceOf(app)
	if !ok {
		err = perennial.Errorf(perennial.CodeInvalid, "app %s: its provider does not describe itself: the app has no issuer and no mcp, or has a token_url and an auth_style of its own", name)
	}
	return source, err
}

func (s *shell) providerRead() *cobra.Command {
	return &cobra.Command{Use: "read APP", Short: "Read anew what an app's provider says about itself, and show what differs from what is in use", Args: exactly(1),
		Long: "It reads the metadata of the app's issuer or MCP server, which is else done once a day. The first reading is used at once; a later one that differs waits for `perennial provider accept`.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withoutKeys(cmd.Context(), func(deps *wiring.Deps) error {
				if _, err := describesItself(deps, args[0]); err != nil {
					return err
				}
				pin, err := deps.ReadMetadata(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return s.printPin(pin)
			})
		}}
}

func (s *shell) printPin(pin store.ProviderMetadata) error {
	shown, err := discovery.Show(pin)
	if err != nil {
		return err
	}
	for _, line := range shown.Lines() {
		fmt.Fprintln(s.out, line)
	}
	return nil
}

func (s *shell) providerAccept() *cobra.Command {
	return &cobra.Command{Use: "accept APP [CHANGE]", Short: "Take what an app's provider has changed about itself into use", Args: cobra.RangeArgs(1, 2),
		Long: "CHANGE names the change that you have seen. Without it, the command shows what waits and changes nothing.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.withoutKeys(cmd.Context(), func(deps *wiring.Deps) error {
				source, err := describesItself(deps, args[0])
				if err != nil {
					return err
				}
				pin, err := deps.Store.ProviderMetadata(cmd.Context(), args[0], source.String())
				if err != nil {
					return err
				}
				if len(args) == 1 {
					return s.printPin(pin)
				}
				return s.accept(cmd.Context(), deps, pin, args[1])
			})
		}}
}

// accept takes a change into use, if it is the one that the operator has seen.
func (s *shell) accept(ctx context.Context, deps *wiring.Deps, pin store.ProviderMetadata, seen string) error {
	if pin.Changed == "" || discovery.ID(pin.Changed) != seen {
		return perennial.Errorf(perennial.CodeConflict, "app %s: no change %q waits: `perennial provider accept %s` shows what does", pin.App, seen, pin.App)
	}
	shown, err := discovery.Show(pin)
	if err != nil {
		return err
	}
	configured, err := deps.Config.Configured(pin.App)
	if err != nil {
		return err
	}
	app, err := discovery.Complete(configured, shown.Now, deps.Config.Discovery.AllowPrivate)
	if err != nil {
		return err // what cannot be used would stop the app
	}
	if err := deps.Store.AcceptProviderMetadata(ctx, pin.App, pin.Source, pin.Changed); err != nil {
		return err
	}
	for _, c := range shown.Changes {
		fmt.Fprintf(s.out, "%s: %s, was %s\n", c.Member, or(c.To, "none"), or(c.From, "none"))
	}
	if shown.Metadata.MovesTokens(shown.Now) {
		fmt.Fprintln(s.out, "Tokens and the client secret go to another host from now on.")
	}
	fmt.Fprintln(s.out, "Running processes use it within a minute.")
	return deps.MoveHost(ctx, app)
}

func (s *shell) providerRegister() *cobra.Command {
	var replace bool
	cmd := &cobra.Command{Use: "register APP", Short: "Have an app's client registered anew at its authorization server", Args: exactly(1),
		Long: "For an app with mcp and without a client_id. Connections that were made with the client before cannot be refreshed any more: their customers must reconnect.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.open(cmd.Context(), func(deps *wiring.Deps) error {
				app, err := deps.Config.Configured(args[0])
				if err != nil {
					return err
				}
				if !replace && app.Provider.MCP != "" {
					return perennial.Errorf(perennial.CodeInvalid, "with a new client every connection of app %s must be reconnected: say --replace if that is meant", app.Name)
				}
				c, err := deps.RegisterClient(cmd.Context(), app.Name)
				if err != nil {
					return err
				}
				fmt.Fprintf(s.out, "%s is client %s of %s now, with the redirect URI %s. Running processes use it within a minute.\n", app.Name, c.ClientID, c.Issuer, c.RedirectURI)
				return nil
			})
		}}
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the client that is registered")
	return cmd
}

// clientLines adds which client the app's server has registered.
func clientLines(ctx context.Context, deps *wiring.Deps, app provider.App, issuer string, lines []string) ([]string, error) {
	c, err := deps.Store.ProviderClient(ctx, app.Name, issuer)
	switch {
	case err != nil:
		return lines, err
	case c.Registration == 0:
		return append(lines, "no client is registered yet: the first consent registers one"), nil
	}
	line := fmt.Sprintf("client %s (%s), registered at %s", c.ClientID, c.Kind, instant(c.RegisteredAt))
	if !c.SecretExpiresAt.IsZero() {
		line += ", its secret ends at " + instant(c.SecretExpiresAt)
	}
	return append(lines, line), nil
}
