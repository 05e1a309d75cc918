package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// maxShown is the most entries that a list shows at once.
const maxShown = 1000

func checkLimit(limit int) error {
	if limit < 1 || limit > maxShown {
		return perennial.Errorf(perennial.CodeInvalid, "--limit must be from 1 to %d", maxShown)
	}
	return nil
}

// lastFlag adds the flag that limits a list of the newest entries.
func lastFlag(cmd *cobra.Command, limit *int, by int, what string) {
	cmd.Flags().IntVar(limit, "limit", by, fmt.Sprintf("how many of the last %s, at most %d", what, maxShown))
}

// checkFilter refuses a value that no connection can have: the answer would be an empty
// list, which reads as "there are none".
func checkFilter(f store.Filter) error {
	if err := checkLimit(f.Limit); err != nil {
		return err
	}
	if err := oneOf("status", f.Status, perennial.Statuses); err != nil {
		return err
	}
	if err := oneOf("health", f.Health, perennial.Healths); err != nil {
		return err
	}
	if f.Health != "" && f.Status != "" && f.Status != perennial.StatusActive {
		return perennial.Errorf(perennial.CodeInvalid, "--health applies to active connections only: leave --status out, or give active")
	}
	return nil
}

// oneOf refuses a flag's value that is not in known. An empty value means that the flag
// was not given.
func oneOf[T ~string](flag string, value T, known []T) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return perennial.Errorf(perennial.CodeInvalid, "there is no %s %q; there are: %s", flag, value, joinedNames(known))
}

func joinedNames[T ~string](all []T) string {
	var out []string
	for _, v := range all {
		out = append(out, string(v))
	}
	return strings.Join(out, ", ")
}

// knownNames explains an empty list: it refuses an app or a provider that is neither
// configured nor in any row.
func knownNames(ctx context.Context, deps *wiring.Deps, f store.Filter) error {
	var apps, providers []string
	for _, app := range deps.Config.Apps {
		apps = append(apps, app.Name)
		providers = append(providers, app.Provider.Name)
	}
	_, catalogued := provider.Lookup(f.Provider)
	for _, name := range []struct {
		flag, value string
		known       bool
		rows        store.Filter
		there       []string
	}{
		{"app", f.App, slices.Contains(apps, f.App), store.Filter{App: f.App, Limit: 1}, apps},
		{"provider", f.Provider, catalogued || slices.Contains(providers, f.Provider), store.Filter{Provider: f.Provider, Limit: 1}, provider.Names()},
	} {
		if name.value == "" || name.known {
			continue
		}
		rows, err := deps.Store.List(ctx, perennial.CommandLineAccess(), name.rows)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return oneOf(name.flag, name.value, name.there)
		}
	}
	return nil
}

// sayMore says how to continue a list that was cut. It writes to standard error, so
// programs that read the list see nothing else.
func (s *shell) sayMore(ctx context.Context, deps *wiring.Deps, access perennial.Access, f store.Filter, listed []perennial.Connection) error {
	if len(listed) < f.Limit {
		return nil
	}
	total, err := deps.Store.Count(ctx, access, f)
	if err != nil {
		return err
	}
	if total > int64(len(listed)) {
		fmt.Fprintf(s.errOut, "%d of %d shown; the others: --after %s, or a --limit up to %d.\n", len(listed), total, listed[len(listed)-1].ID, maxShown)
	}
	return nil
}

// cut shortens a list of the newest entries to limit and says that there are more. The
// caller reads one more than limit.
func cut[T any](s *shell, all []T, limit int, what string) []T {
	if len(all) <= limit {
		return all
	}
	fmt.Fprintf(s.errOut, "The last %d %s are shown; there are others: --limit shows up to %d.\n", limit, what, maxShown)
	return all[:limit]
}
