package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/spf13/cobra"
)

const tokensHelp = "read the token endpoint's reply as JSON from standard input (\"-\" is the only value: secrets do not belong on a command line); obtained_at, RFC 3339 or seconds since 1970, is the time of the token request"

func (s *shell) connect() *cobra.Command {
	var g connect.Grant
	var from grantInput
	cmd := &cobra.Command{Use: "connect --app APP --tenant TENANT --account ACCOUNT --tokens -", Short: "Store a new grant and keep it alive", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.service(cmd.Context(), func(deps *wiring.Deps, service *connect.Service, _ *connect.Temporal) error {
				if err := s.readGrant(deps, g.App, &g, from); err != nil {
					return err
				}
				c, err := service.Connect(cmd.Context(), perennial.CommandLineAccess(), g)
				return s.stored(deps, c, err)
			})
		}}
	cmd.Flags().StringVar(&g.App, "app", "", "the configured app that received the grant")
	cmd.Flags().StringVar(&g.Tenant, "tenant", "", "the customer that owns the connection")
	cmd.Flags().StringVar(&g.Account, "account", "", "the account's id at the provider (portal id, realm id)")
	cmd.Flags().StringVar(&g.Host, "host", "", "the account's own host, if the provider has one for each account (my-shop.myshopify.com)")
	from.flags(cmd)
	return cmd
}

func (s *shell) reconnect() *cobra.Command {
	var g connect.Grant
	var from grantInput
	cmd := &cobra.Command{Use: "reconnect ID --account ACCOUNT --tokens -", Short: "Store a new grant of a connection's own account", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.service(cmd.Context(), func(deps *wiring.Deps, service *connect.Service, _ *connect.Temporal) error {
				c, _, err := deps.Store.Get(cmd.Context(), perennial.CommandLineAccess(), args[0])
				if err != nil {
					return err
				}
				if err := s.readGrant(deps, c.App, &g, from); err != nil {
					return err
				}
				c, err = service.Reconnect(cmd.Context(), perennial.CommandLineAccess(), args[0], g)
				return s.stored(deps, c, err)
			})
		}}
	cmd.Flags().StringVar(&g.Account, "account", "", "the account that gave the new consent; it must be the connection's own")
	from.flags(cmd)
	return cmd
}

// reconnectLink needs only the store: the link works on every server.
func (s *shell) reconnectLink() *cobra.Command {
	var req connect.SessionRequest
	cmd := &cobra.Command{Use: "reconnect-link ID", Short: "Print a link that lets the customer reconnect a connection with one consent", Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.open(cmd.Context(), func(deps *wiring.Deps) error {
				sessions, err := deps.Sessions(deps.Connections(&connect.Temporal{}))
				if err != nil {
					return err
				}
				req.ConnectionID = args[0]
				session, err := sessions.CreateSession(cmd.Context(), perennial.CommandLineAccess(), req)
				if err != nil {
					return err
				}
				fmt.Fprintf(s.out, "%s\nIt works once, until %s. Give it to the customer only.\n", session.Link.Reveal(), instant(session.ExpiresAt))
				return nil
			})
		}}
	cmd.Flags().StringVar(&req.ReturnURL, "return", "", "where the customer goes afterwards; below one of connect.return_urls")
	cmd.Flags().DurationVar(&req.Lifetime, "for", 0, "how long the link works, up to 24h; without it connect.lifetime")
	return cmd
}

const credentialsHelp = "in place of --tokens, for a provider that asks for no consent: read what the customer gave as JSON from standard input (\"-\" is the only value)"

// grantInput says what comes on standard input.
type grantInput struct{ tokens, credentials string }

func (from *grantInput) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&from.tokens, "tokens", "", tokensHelp)
	cmd.Flags().StringVar(&from.credentials, "credentials", "", credentialsHelp)
}

// maxCredentials bounds what is read of credentials, in bytes.
const maxCredentials = 128 << 10

func (s *shell) readGrant(deps *wiring.Deps, of string, g *connect.Grant, from grantInput) error {
	if from.credentials == "-" && from.tokens == "" {
		raw, err := io.ReadAll(io.LimitReader(s.in, maxCredentials))
		g.Credentials = perennial.NewSecret(string(raw))
		return err
	}
	if from.tokens != "-" || from.credentials != "" {
		return perennial.Errorf(perennial.CodeInvalid, `give --tokens - and the token reply on standard input, for example: perennial connect ... --tokens - < reply.json; or --credentials - for a provider that asks for no consent`)
	}
	app, err := deps.Config.App(of)
	if err != nil {
		return err
	}
	g.Tokens, g.ObtainedAt, err = provider.ParseTokens(io.Reader(s.in), app.Provider)
	return err
}

// stored reports a completed write, even if signalling the workflow failed.
func (s *shell) stored(deps *wiring.Deps, c perennial.Connection, err error) error {
	if c.ID != "" {
		fmt.Fprintf(s.out, "%s  %s\n", c.ID, words(deps, c))
	}
	return err
}

func (s *shell) changeStatus(name, short string, do func(*connect.Service, context.Context, perennial.Access, string) (perennial.Connection, error)) *cobra.Command {
	return &cobra.Command{Use: name + " ID", Short: short, Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.service(cmd.Context(), func(deps *wiring.Deps, service *connect.Service, _ *connect.Temporal) error {
			c, err := do(service, cmd.Context(), perennial.CommandLineAccess(), args[0])
			if perennial.CodeOf(err) == perennial.CodeConflict {
				return err
			}
			return s.stored(deps, c, err)
		})
	}}
}

// revoked describes each result of revoking a grant at its provider.
var revoked = map[perennial.Revocation]string{
	perennial.RevocationDone:        "The grant is revoked at the provider too.",
	perennial.RevocationFailed:      "The grant was not revoked at the provider; the log says why. If no other connection needs it, end it there.",
	perennial.RevocationUnsupported: "The provider has no endpoint to revoke the grant: end it there.",
	perennial.RevocationNone:        "There was no grant to revoke at the provider.",
}

func (s *shell) disconnect() *cobra.Command {
	return &cobra.Command{Use: "disconnect ID", Short: "End a connection: wipe its tokens, revoke its grant, complete its workflow", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := canRevoke(cmd.Context(), deps, args[0]); err != nil {
				return err
			}
			return s.dial(cmd.Context(), deps, func(deps *wiring.Deps, service *connect.Service, t *connect.Temporal) error {
				if err := s.mayRevoke(cmd.Context(), deps, t); err != nil {
					return err
				}
				c, revocation, err := deps.Disconnector(service).Disconnect(cmd.Context(), perennial.CommandLineAccess(), args[0])
				if perennial.CodeOf(err) == perennial.CodeConflict {
					return err
				}
				err = s.stored(deps, c, err)
				if c.Status == perennial.StatusDisconnected { // true even if only signalling the workflow failed
					fmt.Fprintln(s.out, revokedText(deps.Config, c.App, revocation))
				}
				return err
			})
		})
	}}
}

// revokedText describes the result of revoking a grant. If it is left to people, the text
// says where the provider lets them remove the access.
func revokedText(cfg *config.Config, app string, revocation perennial.Revocation) string {
	says := revoked[revocation]
	left := revocation == perennial.RevocationFailed || revocation == perennial.RevocationUnsupported
	if a, err := cfg.App(app); left && err == nil && a.Provider.RemoveAccess != "" {
		says += " The customer removes it here: " + a.Provider.RemoveAccess
	}
	return says
}

// canRevoke fails if revoking the grant needs the app's client secret and the secret is
// missing: disconnect would wipe the tokens here, and they would still work at the
// provider.
func canRevoke(ctx context.Context, deps *wiring.Deps, id string) error {
	c, _, err := deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
	if err != nil {
		return err
	}
	app, err := deps.Config.App(c.App)
	if err != nil || app.Provider.RevokeURL == "" {
		return nil // the provider is not called
	}
	return deps.Config.NeedSecrets(c.App)
}

func (s *shell) cadence() *cobra.Command {
	return &cobra.Command{Use: "cadence ID always|on_use", Short: "Keep a token valid always, or only while the connection is used", Args: exactly(2), RunE: func(cmd *cobra.Command, args []string) error {
		return s.service(cmd.Context(), func(deps *wiring.Deps, service *connect.Service, _ *connect.Temporal) error {
			c, err := service.SetCadence(cmd.Context(), perennial.CommandLineAccess(), args[0], perennial.Cadence(args[1]))
			return s.stored(deps, c, err)
		})
	}}
}

func (s *shell) refresh() *cobra.Command {
	var generation int64
	var now bool
	cmd := &cobra.Command{Use: "refresh ID", Short: "Ask for a fresh access token now", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.service(cmd.Context(), func(deps *wiring.Deps, service *connect.Service, t *connect.Temporal) error {
			c, _, err := deps.Store.Get(cmd.Context(), perennial.CommandLineAccess(), args[0])
			if now && err == nil {
				c, err = service.EndBackoff(cmd.Context(), perennial.CommandLineAccess(), args[0])
				generation = cmp.Or(generation, c.Generation) // however young the token is
			}
			if err != nil {
				return err
			}
			reply, err := connect.Refresh(cmd.Context(), t, c, workflows.RefreshNow{IfGeneration: generation})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s: generation %d, expires %s\n", reply.Outcome, reply.Generation, instant(reply.ExpiresAt))
			if reply.RetryAt.IsZero() {
				return nil
			}
			if reply.Code == string(store.VerdictTooSoon) {
				return s.tooSoon(cmd.Context(), deps, args[0], reply.RetryAt)
			}
			return s.stillWaits(cmd.Context(), deps, c, reply, now)
		})
	}}
	cmd.Flags().Int64Var(&generation, "if-generation", 0, "refresh only if this is still the generation, however young the token is")
	cmd.Flags().BoolVar(&now, "now", false, "end a backoff of our own first, and do not wait for refreshes that callers asked for; a wait that the provider asked for stays")
	return cmd
}

// tooSoon says why a connection is not refreshed before retryAt. Its token is well: that is
// no error.
func (s *shell) tooSoon(ctx context.Context, deps *wiring.Deps, id string, retryAt time.Time) error {
	c, now, err := deps.Store.Get(ctx, perennial.CommandLineAccess(), id)
	if err != nil {
		return err
	}
	late := false
	if app, err := deps.Config.App(c.App); err == nil {
		late = app.Provider.RefreshWithin > 0
	}
	fmt.Fprintln(s.out, tooSoonText(c, late, retryAt, now))
	return nil
}

// tooSoonText says when callers had the connection refreshed last, or, of a provider that
// refreshes late, why nothing helps before retryAt.
func tooSoonText(c perennial.Connection, late bool, retryAt, now time.Time) string {
	when := fmt.Sprintf("%s, in %s", instant(retryAt), max(retryAt.Sub(now), 0).Round(time.Second))
	if late {
		return "Its provider refreshes an access token only shortly before its end, and would refuse now; it will be refreshed at " + when + " or soon after."
	}
	return fmt.Sprintf("It was refreshed %s ago because a caller asked, before one was due; it may be again at %s. `perennial refresh --now` does not wait.",
		now.Sub(c.ForcedAt).Round(time.Second), when)
}

// stillWaits returns why a connection waits: for its app, or for itself. now says that
// its own backoff was ended first, so an attempt has failed since.
func (s *shell) stillWaits(ctx context.Context, deps *wiring.Deps, c perennial.Connection, reply workflows.RefreshNowReply, now bool) error {
	app, err := deps.Store.AppIncidents(ctx, c.App)
	if err != nil {
		return err
	}
	why := string(reply.Code)
	circuit := slices.IndexFunc(app.Circuits, func(at store.Circuit) bool { return at.Host == c.Host && at.Open })
	switch {
	case !app.StoppedAt.IsZero():
		why = fmt.Sprintf("app %s is stopped; `perennial app start %[1]s`", c.App)
	case circuit >= 0:
		why = fmt.Sprintf("the circuit of app %s is open since %s: %s; `perennial app probe %[1]s`", c.App, instant(app.Circuits[circuit].OpenedAt), app.Circuits[circuit].Code)
	case !now:
		why = cmp.Or(why, "waiting") + "; `perennial refresh --now` ends a backoff of our own"
	default:
		last, err := deps.Store.Attempts(ctx, perennial.CommandLineAccess(), c.ID, 1)
		if err != nil {
			return err
		}
		if len(last) > 0 {
			why = fmt.Sprintf("the attempt of %s brought no token: %s %s", instant(last[0].StartedAt), last[0].Outcome, last[0].ErrorCode)
		}
	}
	return perennial.Errorf(perennial.CodeUnavailable, "the connection is waiting: retry not before %s (%s)", instant(reply.RetryAt), why)
}
