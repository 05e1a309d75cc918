package cli

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/doctor"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
)

func (s *shell) doctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "doctor", Short: "Check the whole installation, and say what to do", Args: exactly(0),
		Long: "doctor looks at the database, the keys, Temporal, the connections, the apps, this machine's spool,\n" +
			"the webhooks and the configuration. It changes nothing, and takes a few seconds at most.\n\n" +
			"Exit codes: 0 nothing is wrong (there may be warnings); 4 something is wrong; 6 nothing is known to be wrong,\n" +
			"and something could not be checked; 2 wrong usage or settings.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			options, err := wiring.ClientOptions(cmd.Context(), cfg, s.environ, s.customize...)
			if err != nil {
				return err
			}
			sources, done := s.sources(cfg, options)
			defer done()
			report := doctor.Run(cmd.Context(), sources)
			if asJSON {
				err = s.json(report)
			} else {
				s.printReport(report)
			}
			if err != nil {
				return err
			}
			return verdict(report)
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// sources opens the database, the keys and Temporal on demand. done closes those it opened.
func (s *shell) sources(cfg *config.Config, temporal client.Options) (sources doctor.Sources, done func()) {
	var mu sync.Mutex
	var closers []func()
	closes := func(f func()) { mu.Lock(); defer mu.Unlock(); closers = append(closers, f) }
	sources = doctor.Sources{Config: cfg, Namespace: cmp.Or(temporal.Namespace, client.DefaultNamespace), Converter: temporal.DataConverter,
		Database: func(ctx context.Context) (*db.DB, error) {
			d, err := db.Open(ctx, cfg.DatabaseURL, cfg.DatabasePool)
			if err == nil {
				closes(func() { _ = d.Close() }) // nothing was written
			}
			return d, err
		},
		Keys: func(ctx context.Context) (*seal.Keyring, error) { return wiring.LoadKeys(ctx, cfg) },
		Temporal: func(ctx context.Context) (client.Client, error) {
			c, err := wiring.Dial(ctx, cfg, s.environ, s.logger(), s.customize...)
			if err == nil {
				closes(c.Close)
			}
			return c, err
		},
		Binding: func(ctx context.Context, d *db.DB, c client.Client) (doctor.Binding, error) {
			return s.readBinding(ctx, &wiring.Deps{Config: cfg, DB: d, Store: store.New(d), Log: s.logger()}, c)
		}}
	return sources, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, f := range closers {
			f()
		}
	}
}

// readBinding reads both sides of the binding between the database and Temporal.
func (s *shell) readBinding(ctx context.Context, deps *wiring.Deps, c client.Client) (out doctor.Binding, err error) {
	b, err := deps.BindingFor(ctx, c, s.environ, s.customize...)
	if err != nil {
		return out, err
	}
	f, err := b.Inspect(ctx)
	if err != nil {
		return out, err
	}
	return bindingOf(f), nil
}

func bindingOf(f wiring.Found) doctor.Binding {
	out := doctor.Binding{State: string(f.State), Presents: f.State.Presents(), Reason: f.Reason, Database: f.Installation.DatabaseID}
	for _, at := range f.Installation.Bindings {
		out.Places = append(out.Places, fmt.Sprintf("task queue %s of namespace %s, verified %s", at.TaskQueue, at.Namespace, instant(at.VerifiedAt)))
	}
	return out
}

// verdict is the error that gives the command its exit code.
func verdict(r doctor.Report) error {
	switch r.State {
	case doctor.Wrong:
		return perennial.Errorf(perennial.CodeConflict, "%d wrong, see above", r.Count(doctor.Wrong))
	case doctor.Unknown:
		return perennial.Errorf(perennial.CodeUnavailable, "%d could not be checked, see above", r.Count(doctor.Unknown))
	}
	return nil
}

// lineWidth is the width of a terminal's line.
const lineWidth = 80

// printReport prints a line for each finding, and below it what to do. It escapes each
// text as a whole, so that none begins a line.
func (s *shell) printReport(r doctor.Report) {
	stateWidth, checkWidth := 0, 0
	for _, state := range doctor.States {
		stateWidth = max(stateWidth, len(state))
	}
	for _, f := range r.Findings {
		checkWidth = max(checkWidth, len(f.Check))
	}
	indent := stateWidth + checkWidth + 4
	for _, f := range r.Findings {
		fmt.Fprintf(s.out, "%-*s  %-*s  %s\n", stateWidth, f.State, checkWidth, f.Check, wrap(printable.Escape(f.Seen), indent))
		if f.Do != "" {
			fmt.Fprintf(s.out, "%*s%s\n", indent, "", wrap("-> "+printable.Escape(f.Do), indent))
		}
	}
	fmt.Fprintf(s.out, "\n%d well, %d warnings, %d unknown, %d wrong\n",
		r.Count(doctor.Well), r.Count(doctor.Warning), r.Count(doctor.Unknown), r.Count(doctor.Wrong))
}
