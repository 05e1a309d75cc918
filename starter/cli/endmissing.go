package cli

import (
	"errors"
	"fmt"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/spf13/cobra"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
)

func (s *shell) endMissing() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "end-missing ID", Short: "End the workflow of a connection whose row is gone for good", Args: exactly(1),
		Long: "end-missing is for a connection with the status missing: its row is not in the database, and its workflow looks for it. The command says that the row does not come back.\n" +
			"The grant is not revoked. A token set that only the workflow holds is lost: after a restore, first let the workers store what their spools hold.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.bound(cmd.Context(), func(b *wiring.Binding) error {
				f, err := b.Look(cmd.Context())
				if err != nil {
					return err
				}
				if f.State != wiring.Bound {
					return perennial.Errorf(perennial.CodeConflict, "a row is missing for good only in the right database: %s", f.Reason)
				}
				workflow := workflows.ID(args[0])
				run, err := b.Place.Client.DescribeWorkflowExecution(cmd.Context(), workflow, "")
				var missing *serviceerror.NotFound
				if errors.As(err, &missing) || err == nil && run.GetWorkflowExecutionInfo().GetStatus() != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING {
					return perennial.Errorf(perennial.CodeNotFound, "no workflow runs for connection %q: there is nothing to end", args[0])
				}
				if err != nil {
					return fmt.Errorf("look at workflow %s: %w", workflow, err)
				}
				fmt.Fprintf(s.errOut, "The workflow of connection %s ends, with all that only it holds. The grant is not revoked.\n", args[0])
				if !yes {
					if err := s.confirm(); err != nil {
						return err
					}
				}
				if err := b.EndMissing(cmd.Context(), args[0]); err != nil {
					return err
				}
				fmt.Fprintf(s.out, "The workflow of connection %s ends as soon as a worker has looked.\n", args[0])
				return nil
			})
		}}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
