package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// clientFlags say which client asks a provider, and how its user agrees.
type clientFlags struct {
	id, secretEnv, host, redirect string
	scopes                        []string
}

func (f *clientFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.id, "client-id", "", "client id, if NAME is no app of the configuration")
	cmd.Flags().StringVar(&f.secretEnv, "client-secret-env", "", "environment variable with its secret or key")
	cmd.Flags().StringVar(&f.host, "host", "", "the account's host, if each account has its own")
	cmd.Flags().StringSliceVar(&f.scopes, "scopes", nil, "scopes to ask for; left out: the app's")
	cmd.Flags().StringVar(&f.redirect, "redirect-uri", "http://127.0.0.1:8765/callback", "redirect URI, as it is registered at the provider; if it is not on this machine, you paste the address to which the browser comes")
}

// client returns the client that NAME and the flags describe: an app of the configuration,
// or a description with a client of the flags. Its secret is there.
func (s *shell) client(ctx context.Context, name string, f clientFlags) (app provider.App, err error) {
	app, configured, err := s.configuredClient(ctx, name, f.secretEnv == "")
	if err != nil {
		return app, err
	}
	if !configured {
		if app, err = s.describedClient(ctx, name, f); err != nil {
			return app, err
		}
	}
	if f.id != "" {
		app.ClientID = f.id
	}
	if f.secretEnv != "" {
		secret := s.variable(f.secretEnv)
		if secret == "" {
			return app, perennial.Errorf(perennial.CodeInvalid, "the environment variable %s is not set: put the client secret there", f.secretEnv)
		}
		app.ClientSecrets = []perennial.Secret{perennial.NewSecret(secret)}
	}
	if len(f.scopes) > 0 {
		app.Scopes = f.scopes
	}
	return app.At(f.host)
}

// configuredClient returns an app of the configuration, if NAME is one. With secret, its
// secret must be there.
func (s *shell) configuredClient(ctx context.Context, name string, secret bool) (app provider.App, ok bool, err error) {
	if isFile(name) {
		return app, false, nil
	}
	if _, err := os.Stat(s.config); err != nil {
		return app, false, nil
	}
	cfg, err := s.load()
	if err != nil {
		return app, false, err
	}
	if app, err = cfg.Configured(name); err != nil {
		return app, false, nil
	}
	if err := cfg.NeedSecrets(name); err != nil && secret {
		return app, true, err
	}
	if app.Discovery == nil {
		return app, true, nil
	}
	err = s.withoutKeys(ctx, func(deps *wiring.Deps) error {
		done, shown, err := pinned(ctx, deps, name)
		if err == nil && shown.Pin.App == "" {
			err = perennial.Errorf(perennial.CodeUnavailable, "app %s: what its provider says about itself has not been read yet: `perennial provider read %s`", name, name)
		}
		app = done
		return err
	})
	return app, true, err
}

// describedClient returns a client of the flags at a provider of the catalogue or a file.
func (s *shell) describedClient(ctx context.Context, name string, f clientFlags) (provider.App, error) {
	e, _, err := s.described(ctx, name)
	if err != nil {
		return provider.App{}, err
	}
	if e.TokenURL == "" {
		return provider.App{}, perennial.Errorf(perennial.CodeInvalid, "%s does not say where its server is: write a file with its keys and a token_url, or an app in the configuration", name)
	}
	if f.id == "" && !e.CustomersClient() {
		return provider.App{}, perennial.Errorf(perennial.CodeInvalid, "%s is no app of the configuration: say --client-id, and --client-secret-env VARIABLE", name)
	}
	return provider.App{Name: e.Name, Provider: e, ClientID: f.id}, nil
}

// variable returns a variable of the environment.
func (s *shell) variable(name string) string {
	for _, one := range s.environ {
		if value, ok := strings.CutPrefix(one, name+"="); ok {
			return value
		}
	}
	return ""
}

// isFile reports whether NAME is a file.
func isFile(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") || strings.ContainsRune(name, filepath.Separator)
}
