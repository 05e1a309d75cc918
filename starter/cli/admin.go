package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/spf13/cobra"
	"github.com/tink-crypto/tink-go/v2/tink"
	"go.temporal.io/sdk/client"
)

func (s *shell) migrate() *cobra.Command {
	var down, yes bool
	cmd := &cobra.Command{Use: "migrate", Short: "Bring the database's schema to this program's version", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if yes && !down {
				return perennial.Errorf(perennial.CodeInvalid, "--yes works only with --down: nothing else asks for a confirmation")
			}
			cfg, err := s.load()
			if err != nil {
				return err
			}
			d, err := db.Open(cmd.Context(), cfg.DatabaseURL, cfg.DatabasePool)
			if err != nil {
				return err
			}
			defer d.Close()
			if down {
				return s.migrateDown(cmd.Context(), d, yes)
			}
			from, to, err := d.Migrate(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "The schema is at version %d (it was at %d).\n", to, from)
			return nil
		}}
	cmd.Flags().BoolVar(&down, "down", false, "revert the newest migration instead; this deletes the data that only it can hold, so it asks first")
	cmd.Flags().BoolVar(&yes, "yes", false, "with --down: do not ask")
	return cmd
}

func (s *shell) keys() *cobra.Command {
	var plaintext, ifMissing bool
	cmd := &cobra.Command{Use: "keys", Short: "Make and rotate the keys that seal tokens"}
	cmd.PersistentFlags().BoolVar(&plaintext, "allow-plaintext", false, "without a KMS: store the keys in plain files of mode 0600")
	sub := func(use, short, done string, do func(string, tink.AEAD, bool) error) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			kek, err := wiring.KEK(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if err := do(cfg.KeysDir, kek, plaintext || cfg.AllowPlaintextKeys); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s %s. Keep a copy: without the keys every stored token is lost.\n", done, cfg.KeysDir)
			if kek == nil && !cfg.AllowPlaintextKeys {
				fmt.Fprintln(s.out, "They are plain files: set allow_plaintext_keys: true, or every program refuses them.")
			}
			return nil
		}}
	}
	create := sub("new", "Make the keysets; existing ones are never overwritten", "The keysets are in", func(dir string, kek tink.AEAD, plaintext bool) error {
		err := seal.Generate(dir, kek, plaintext)
		if ifMissing && perennial.CodeOf(err) == perennial.CodeConflict {
			return nil
		}
		return err
	})
	create.Flags().BoolVar(&ifMissing, "if-missing", false, "succeed if the keysets exist already, and leave them unchanged")
	cmd.AddCommand(create,
		sub("rotate", "Add a new sealing key to each keyset; restart every process after it", "New keys were added in", seal.Rotate),
	)
	return cmd
}

func (s *shell) setup() *cobra.Command {
	return &cobra.Command{Use: "setup", Short: "Prepare the Temporal namespace (search attributes, the sweep's schedule) and bind the database to it; safe to repeat", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.load()
			if err != nil {
				return err
			}
			t, err := wiring.Dial(cmd.Context(), cfg, s.environ, s.logger(), s.customize...)
			if err != nil {
				return err
			}
			defer t.Close()
			namespace, err := wiring.Namespace(cmd.Context(), cfg, s.environ, s.customize...)
			if err != nil {
				return err
			}
			added, made, err := workflows.Prepare(cmd.Context(), t, namespace, cfg.TaskQueue, workflows.Sweep(cfg.Sweep))
			if len(added) > 0 {
				fmt.Fprintf(s.out, "Search attributes added: %s.\n", strings.Join(added, ", "))
			}
			if made {
				fmt.Fprintf(s.out, "Schedule made: %s.\n", workflows.SweepID(cfg.TaskQueue))
			}
			if len(added) == 0 && !made && err == nil {
				fmt.Fprintln(s.out, "The namespace was ready.")
			}
			return errors.Join(err, s.bind(cmd.Context(), t))
		}}
}

// bind writes the ids by which database and Temporal know each other, if they are
// missing.
func (s *shell) bind(ctx context.Context, t client.Client) error {
	return s.withoutKeys(ctx, func(deps *wiring.Deps) error {
		b, err := deps.BindingFor(ctx, t, s.environ, s.customize...)
		if err != nil {
			return err
		}
		f, wrote, err := b.Setup(ctx)
		if wrote {
			fmt.Fprintf(s.out, "Database %s is bound to task queue %s of namespace %s.\n", f.Installation.DatabaseID, f.TaskQueue, f.Namespace)
		}
		return err
	})
}

// withoutKeys opens the store for commands that need no keys.
func (s *shell) withoutKeys(ctx context.Context, do func(*wiring.Deps) error) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	d, err := db.Open(ctx, cfg.DatabaseURL, cfg.DatabasePool)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.CheckSchema(ctx); err != nil {
		return err
	}
	return do(&wiring.Deps{Config: cfg, DB: d, Store: store.New(d), Log: s.logger()})
}
