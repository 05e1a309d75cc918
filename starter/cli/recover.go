package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/spf13/cobra"
)

func (s *shell) recover() *cobra.Command {
	var reading refresh.Reading
	var at []string
	cmd := &cobra.Command{Use: "recover ID [--under PATH] [--at NAME=PATH]", Short: "Read a kept reply of the provider again, with a corrected description", Args: exactly(1),
		Long: "recover is for a connection that is failing with reply_kept: its provider sent a reply that may have tokens and could not be read. The reply is kept, sealed.\n" +
			"Without flags it is read by the app's description as it is configured now. If it still cannot be read, the error names its members, without their values.\n" +
			"Nothing is presented to the provider.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if reading.MembersAt, err = membersAt(at); err != nil {
				return err
			}
			return s.service(cmd.Context(), func(deps *wiring.Deps, _ *connect.Service, t *connect.Temporal) error {
				res, err := refresh.New(deps.EngineConfig()).Recover(cmd.Context(), deps.Store, args[0], reading)
				if err != nil {
					return err
				}
				if reading.Under != "" || len(at) > 0 {
					fmt.Fprintln(s.errOut, "Correct the app's description in the same way: until then its next reply is kept too.")
				}
				return s.stored(deps, res.Connection, t.Signal(cmd.Context(), res.Connection, workflows.SignalNudge))
			})
		}}
	cmd.Flags().StringVar(&reading.Under, "under", "", "the path of the object that has access_token: data, or data.token")
	cmd.Flags().StringArrayVar(&at, "at", nil, "where a member is that has another name: access_token=auth.key; may be repeated")
	return cmd
}

// recoverable lists the members that a reply may have elsewhere.
var recoverable = []string{"access_token", "refresh_token", "expires_in", "refresh_token_expires_in", "scope", "token_type"}

// membersAt reads the values of --at.
func membersAt(values []string) (map[string][]string, error) {
	out := map[string][]string{}
	for _, value := range values {
		name, path, _ := strings.Cut(value, "=")
		if !slices.Contains(recoverable, name) || path == "" {
			return nil, perennial.Errorf(perennial.CodeInvalid, "--at %q is not NAME=PATH with a name of %s", value, strings.Join(recoverable, ", "))
		}
		out[name] = append(out[name], path)
	}
	return out, nil
}
