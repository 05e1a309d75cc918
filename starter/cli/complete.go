package cli

import (
	"context"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

const (
	completeLimit   = 50
	completeTimeout = 3 * time.Second
)

// completeIDs lets the shell complete ids of connections and apps, in every command
// whose first argument is one. If it cannot read them, it completes nothing.
func (s *shell) completeIDs(cmd *cobra.Command) {
	switch first := strings.Trim(strings.Fields(cmd.Use + " -")[1], "[]"); first {
	case "ID":
		if cmd.Parent().Name() != "apikey" {
			cmd.ValidArgsFunction = s.completing(connectionIDs)
		}
	case "APP":
		cmd.ValidArgsFunction = s.completing(appNames)
	}
	for _, sub := range cmd.Commands() {
		s.completeIDs(sub)
	}
}

func (s *shell) completing(find func(ctx context.Context, deps *wiring.Deps, prefix string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		var out []string
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		err := s.open(ctx, func(deps *wiring.Deps) (err error) {
			out, err = find(ctx, deps, prefix)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// connectionIDs returns the ids with this beginning, each with a short description.
func connectionIDs(ctx context.Context, deps *wiring.Deps, prefix string) ([]string, error) {
	rows, err := deps.Store.List(ctx, perennial.CommandLineAccess(), store.Filter{After: prefix, Limit: completeLimit}) // in the order of the ids
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range rows {
		if strings.HasPrefix(c.ID, prefix) {
			out = append(out, cobra.CompletionWithDesc(c.ID, c.TenantID+" "+c.App+" "+c.AccountID+" "+string(c.Status)))
		}
	}
	return out, nil
}

func appNames(_ context.Context, deps *wiring.Deps, prefix string) ([]string, error) {
	var out []string
	for _, app := range deps.Config.Apps {
		if strings.HasPrefix(app.Name, prefix) {
			out = append(out, cobra.CompletionWithDesc(app.Name, app.Provider.Title))
		}
	}
	return out, nil
}

// vocabulary completes one of a fixed set of values.
func vocabulary[T ~string](all []T) cobra.CompletionFunc {
	var out []string
	for _, v := range all {
		out = append(out, string(v))
	}
	return cobra.FixedCompletions(out, cobra.ShellCompDirectiveNoFileComp)
}

// completeFlags completes the filters of list.
func completeFlags(list *cobra.Command) {
	for name, complete := range map[string]cobra.CompletionFunc{"status": vocabulary(perennial.Statuses), "health": vocabulary(perennial.Healths)} {
		if err := list.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // no such flag: a bug in this program
		}
	}
}
