package main

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

// mostShown is how much a list shows at once at most.
const maxShown = 1000

func checkLimit(limit int) error {
	if limit < 1 || limit > maxShown {
		return perennial.Errorf(perennial.CodeInvalid, "--limit must be from 1 to %d", maxShown)
	}
	return nil
}

// lastFlag is the limit of a list of the newest.
func lastFlag(cmd *cobra.Command, limit *int, by int, what string) {
	cmd.Flags().IntVar(limit, "limit", by, fmt.Sprintf("how many of the last %s, at most %d", what, maxShown))
}

// checkFilter refuses a value that no connection can have: the answer would be an
// empty list, which reads as "there are none".
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
		return perennial.Errorf(perennial.CodeInvalid, "--health is of active connections: leave --status out, or say active")
	}
	return nil
}

// oneOf refuses the value of a flag that is none of known; empty: it was not given.
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

// knownNames refuses an app or a provider that is neither configured nor in any row,
// where a list by it is empty.
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
		rows, err := deps.Store.List(ctx, name.rows)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return oneOf(name.flag, name.value, name.there)
		}
	}
	return nil
}

// sayMore says where a list that was cut goes on. It goes to standard error, so that
// what reads the list reads nothing else.
func (s *shell) sayMore(ctx context.Context, deps *wiring.Deps, f store.Filter, listed []perennial.Connection) error {
	if len(listed) < f.Limit {
		return nil
	}
	total, err := deps.Store.Count(ctx, f)
	if err != nil {
		return err
	}
	if total > int64(len(listed)) {
		fmt.Fprintf(s.errOut, "%d of %d shown; the others: --after %s, or a --limit up to %d.\n", len(listed), total, listed[len(listed)-1].ID, maxShown)
	}
	return nil
}

// cut takes a list of the newest, of which one more than limit was asked for, down to
// limit, and says that there are others.
func cut[T any](s *shell, all []T, limit int, what string) []T {
	if len(all) <= limit {
		return all
	}
	fmt.Fprintf(s.errOut, "The last %d %s are shown; there are others: --limit shows up to %d.\n", limit, what, maxShown)
	return all[:limit]
}
