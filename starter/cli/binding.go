package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// changed is the JSON output of adopt and restored.
type changed struct {
	wiring.Found
	Changed bool  `json:"changed"`
	Marked  int64 `json:"marked_rows,omitempty"`
}

func (s *shell) binding() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "binding", Short: "Show whether database and Temporal belong together, and every Temporal of the database", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.bound(cmd.Context(), func(b *wiring.Binding) error {
				f, err := b.Look(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return s.json(f)
				}
				return s.found(f)
			})
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) adopt() *cobra.Command {
	var asJSON, yes, beside bool
	var replace string
	cmd := &cobra.Command{Use: "adopt", Short: "Bind the database to this Temporal after a move, or to keep a copy alive", Args: exactly(0),
		Long: "adopt says that this database's connections are refreshed through this Temporal from now on. The database gets a new id: the workers of the Temporal that had it present nothing any more.\n" +
			"Never adopt a copy whose original is still in use: both would present the same refresh tokens. If the original went on after the copy was made and ends now, run `perennial restored` first.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.bound(cmd.Context(), func(b *wiring.Binding) error {
				what := "This Temporal becomes the only one that refreshes the connections. Stop the workers of every other one first"
				if beside {
					what = "This Temporal refreshes the connections beside those that do already"
				}
				return s.change(cmd.Context(), b, what, yes, asJSON, func() (changed, error) {
					f, wrote, err := b.Adopt(cmd.Context(), beside, replace)
					return changed{Found: f, Changed: wrote}, err
				})
			})
		}}
	cmd.Flags().BoolVar(&beside, "beside", false, "keep the database's other Temporals: all of them refresh it (blue-green)")
	cmd.Flags().StringVar(&replace, "replace", "", "the id of the database that this task queue belonged to, if to another: its workers stop")
	s.changeFlags(cmd, &yes, &asJSON)
	return cmd
}

func (s *shell) move() *cobra.Command {
	var from string
	cmd := &cobra.Command{Use: "move --from TASK_QUEUE", Short: "Move the running workflows from another task queue of the namespace to this one", Args: exactly(0),
		Long: "move is for a changed task_queue. First run `perennial setup` with the new one, and start workers with it beside the old ones, which must go on until this command has ended.\n" +
			"Each workflow goes on at the new queue with all that it holds. The command waits until none is left at the old one; it may be stopped and repeated.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return perennial.Errorf(perennial.CodeInvalid, "say which task queue the workflows are on: --from TASK_QUEUE (`perennial binding` lists them)")
			}
			return s.bound(cmd.Context(), func(b *wiring.Binding) error {
				err := b.Move(cmd.Context(), from, func(left int) { fmt.Fprintf(s.errOut, "%d workflows are on task queue %s.\n", left, from) })
				if err == nil {
					fmt.Fprintf(s.out, "No workflow of a connection is on task queue %s any more. Stop its workers and servers.\n", from)
				}
				return err
			})
		}}
	cmd.Flags().StringVar(&from, "from", "", "the task queue that the workflows are on")
	return cmd
}

func (s *shell) restored() *cobra.Command {
	var asJSON, yes bool
	cmd := &cobra.Command{Use: "restored", Short: "After the database was restored: mark its rows, and let refreshing go on", Args: exactly(0),
		Long: "restored says that the database went backwards: a restore, or a failover that lost commits. Every stored refresh token may have been spent since. Each is presented once more at its time; a refusal then counts as our loss (rotation_lost).\nFirst start the workers that have spools: they store what only their spools have.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.bound(cmd.Context(), func(b *wiring.Binding) error {
				return s.change(cmd.Context(), b, "Every living connection's refresh token is marked as one that may have been spent", yes, asJSON, func() (changed, error) {
					f, marked, err := b.Restored(cmd.Context())
					return changed{Found: f, Changed: err == nil, Marked: marked}, err
				})
			})
		}}
	s.changeFlags(cmd, &yes, &asJSON)
	return cmd
}

func (s *shell) changeFlags(cmd *cobra.Command, yes, asJSON *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// change says what was found and what will happen, asks, and does it.
func (s *shell) change(ctx context.Context, b *wiring.Binding, what string, yes, asJSON bool, do func() (changed, error)) error {
	f, err := b.Look(ctx)
	if err != nil {
		return err
	}
	if f.Reason != "" {
		fmt.Fprintf(s.errOut, "Found: %s.\n", f.Reason)
	}
	fmt.Fprintf(s.errOut, "%s.\n", what)
	if !yes {
		if err := s.confirm(); err != nil {
			return err
		}
	}
	out, err := do()
	if err != nil {
		return err
	}
	if asJSON {
		return s.json(out)
	}
	switch {
	case out.Marked > 0:
		fmt.Fprintf(s.out, "%d connections were marked.\n", out.Marked)
	case !out.Changed:
		fmt.Fprintln(s.out, "Nothing had to be changed.")
	}
	return s.found(out.Found)
}

func (s *shell) found(f wiring.Found) error {
	table := printable.NewTable(s.out)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("state", "%s", f.State)
	if f.Reason != "" {
		line("what to do", "%s", f.Reason)
	}
	line("database", "%s, number %d", or(f.Installation.DatabaseID, "no id"), f.Installation.Number)
	line("Temporal", "namespace %s (%s), task queue %s, cluster %s", f.Namespace, or(f.NamespaceID, "does not answer"), f.TaskQueue, or(f.ClusterID, "unknown"))
	if f.Record != nil {
		line("Temporal knows", "database %s, number %d", f.Record.Database, f.Record.Number)
	}
	for _, b := range f.Installation.Bindings {
		line("bound to", "namespace %s (%s), task queue %s, cluster %s, verified %s", b.Namespace, b.NamespaceID, b.TaskQueue, or(b.ClusterID, "unknown"), instant(b.VerifiedAt))
	}
	return table.Flush()
}

func or(text, empty string) string {
	if text == "" {
		return empty
	}
	return text
}

// bound opens the store and Temporal, and passes their binding.
func (s *shell) bound(ctx context.Context, do func(*wiring.Binding) error) error {
	return s.withoutKeys(ctx, func(deps *wiring.Deps) error {
		t, err := wiring.Dial(ctx, deps.Config, s.environ, deps.Log, s.customize...)
		if err != nil {
			return err
		}
		defer t.Close()
		b, err := deps.BindingFor(ctx, t, s.environ, s.customize...)
		if err != nil {
			return err
		}
		return do(b)
	})
}

// mayRevoke refuses in a copy of the database: its grants are the original's.
func (s *shell) mayRevoke(ctx context.Context, deps *wiring.Deps, t *connect.Temporal) error {
	b, err := deps.BindingFor(ctx, t.Client, s.environ, s.customize...)
	if err != nil {
		return err
	}
	f, err := b.Look(ctx)
	if err == nil && !f.State.Presents() {
		err = perennial.Errorf(perennial.CodeConflict, "disconnect would revoke the grant at the provider too: %s", f.Reason)
	}
	return err
}

func (s *shell) processes() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "processes", Short: "List the workers and servers that have reported of late", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return s.withoutKeys(cmd.Context(), func(deps *wiring.Deps) error {
			all, now, err := deps.Store.Processes(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return s.json(all)
			}
			return s.listed(all, now)
		})
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) listed(all []store.Process, now time.Time) error {
	if len(all) == 0 {
		fmt.Fprintln(s.out, "No process has reported within a week.")
		return nil
	}
	table := printable.NewTable(s.out)
	fmt.Fprintln(table, "KIND\tHOST\tREPORTED\tBINDING\tREVISION\tTASK QUEUE\tCLOCK\tSPOOL\tKEYS\tVERSION")
	for _, p := range all {
		reported := now.Sub(p.ReportedAt).Round(time.Second).String() + " ago"
		if !p.Alive(now) {
			reported += ", silent"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%v\t%s\n", p.Kind, p.Host, reported, p.Binding, p.Revision, p.TaskQueue, p.ClockOffset.Round(time.Millisecond), p.SpoolSets, p.Keys, p.Version)
	}
	return table.Flush()
}
