package cli

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/internal/program"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/starter/dev"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// shell holds what every command needs: environment, input, output and flags.
type shell struct {
	environ     []string
	customize   []wiring.Customize
	in          io.Reader
	out, errOut io.Writer
	config      string // path
	isTerminal  func(io.Reader) bool
}

func newCommand(s *shell) *cobra.Command {
	root := &cobra.Command{
		Use:           "perennial",
		Short:         "Keeps third-party OAuth connections alive",
		Long:          "perennial keeps third-party OAuth connections alive, each with a Temporal workflow of its own.\nTo see it work, with nothing to configure: perennial dev",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.Get().String(),
	}
	root.SetVersionTemplate(program.VersionLine("perennial"))
	root.PersistentFlags().StringVar(&s.config, "config", "perennial.yaml", "path of the configuration file")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return perennial.Errorf(perennial.CodeInvalid, "%w; see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(s.migrate(), s.keys(), s.setup(), s.connect(), s.reconnect(), s.reconnectLink(), s.list(), s.show(), s.refresh(), s.recover(),
		s.changeStatus("give-up", "Go on without the token set that is set aside, or the reply that is kept: the old refresh token is presented again", (*connect.Service).GiveUpSetAside),
		s.changeStatus("pause", "Stop refreshing, except to keep the refresh token alive", (*connect.Service).Pause),
		s.endMissing(), s.cadence(),
		s.changeStatus("resume", "Make a paused connection active again", (*connect.Service).Resume),
		s.disconnect(),
		s.app(), s.provider(), s.events(), s.webhook(), s.apikey(), s.healthcheck(), s.doctor(), s.binding(), s.adopt(), s.move(), s.restored(), s.processes(), s.worker(), s.server(), dev.Command(s.environ, s.customize...))
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	strict(root)
	s.completeIDs(root)
	return root
}

// strict turns every unknown word on the command line into an error of
// [perennial.CodeInvalid]. Cobra's own errors have no code, and below a known command
// it answers an unknown one with help and success.
func strict(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() && !cmd.Runnable() {
		check = unknownCommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil && cmd.Name() == "list" {
				err = noEmptyFilter(cmd)
			}
			if err == nil || perennial.CodeOf(err) != perennial.CodeInternal {
				return err
			}
			return perennial.Errorf(perennial.CodeInvalid, "%w; see `%s --help`", err, cmd.CommandPath())
		}
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
}

// noEmptyFilter refuses --tenant "$TENANT" if the variable is not set: otherwise the
// list would show every tenant.
func noEmptyFilter(cmd *cobra.Command) error {
	for _, name := range []string{"status", "health", "provider", "app", "tenant", "account", "after"} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
			return perennial.Errorf(perennial.CodeInvalid, "--%s is empty: leave it out, or give a value", name)
		}
	}
	return nil
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return perennial.Errorf(perennial.CodeInvalid, "there is no command %q below `%s`%s; see `%s --help`", args[0], cmd.CommandPath(), hint, cmd.CommandPath())
}

// exactly requires n arguments; its error has [perennial.CodeInvalid].
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return perennial.Errorf(perennial.CodeInvalid, "%w; see `%s --help`", err, cmd.CommandPath())
		}
		return nil
	}
}

// logger logs only problems, because people read the output.
func (s *shell) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(printable.NewWriter(s.errOut), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// load reads the configuration without client secrets, so people who look after
// connections need none. Only disconnect presents anything to a provider, and it asks
// for the secrets that it needs.
func (s *shell) load() (*config.Config, error) { return config.LoadWithoutSecrets(s.config, s.environ) }

// open opens only the configured store.
func (s *shell) open(ctx context.Context, do func(*wiring.Deps) error) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	deps, err := wiring.Open(ctx, cfg, s.logger())
	if err != nil {
		return err
	}
	defer deps.Close()
	return do(deps)
}

// service opens the store and Temporal, which changes of connections need.
func (s *shell) service(ctx context.Context, do func(*wiring.Deps, *connect.Service, *connect.Temporal) error) error {
	return s.open(ctx, func(deps *wiring.Deps) error { return s.dial(ctx, deps, do) })
}

func (s *shell) dial(ctx context.Context, deps *wiring.Deps, do func(*wiring.Deps, *connect.Service, *connect.Temporal) error) error {
	t, err := wiring.Dial(ctx, deps.Config, s.environ, deps.Log, s.customize...)
	if err != nil {
		return err
	}
	defer t.Close()
	w := deps.Workflows(t)
	return do(deps, deps.Connections(w), w)
}

// worker runs the same worker as the program of that name. dev starts it as a child
// process, so one binary is enough.
func (s *shell) worker() *cobra.Command {
	return &cobra.Command{Use: "worker", Short: "Run a worker, as the program worker does", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return wiring.RunWorker(cmd.Context(), []string{"--config", s.config}, s.environ, s.errOut, s.customize...)
		}}
}

// server runs the same server as the program of that name.
func (s *shell) server() *cobra.Command {
	return &cobra.Command{Use: "server", Short: "Serve the HTTP API, as the program server does", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return wiring.RunServer(cmd.Context(), []string{"--config", s.config}, s.environ, s.errOut, s.customize...)
		}}
}
