package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// oldSecretKept is how long a rotated secret still signs by default.
const oldSecretKept = 24 * time.Hour

// deliveriesShown is the number of deliveries that `webhook deliveries` prints by
// default.
const deliveriesShown = 50

func (s *shell) webhook() *cobra.Command {
	cmd := &cobra.Command{Use: "webhook", Short: "Notify products of changes: endpoints and deliveries"}
	cmd.AddCommand(s.webhookAdd(), s.webhookList(), s.webhookRotate(), s.webhookRemove(), s.webhookDeliveries(), s.webhookRedeliver())
	return cmd
}

func (s *shell) webhookAdd() *cobra.Command {
	var types []string
	cmd := &cobra.Command{Use: "add URL", Short: "Register an endpoint; its secret is printed only once", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		access, err := accessOf(cmd)
		if err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			var wanted []perennial.EventType
			for _, t := range types {
				wanted = append(wanted, perennial.EventType(t))
			}
			w, secret, err := deps.Notify(nil).Add(cmd.Context(), access, args[0], wanted)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "endpoint  %s\nsecret    %s\nThe secret is not shown again: give it to the receiver, which verifies signatures with it.\n", w.ID, secret.Reveal())
			return nil
		})
	}}
	cmd.Flags().String("tenant", "", "only this tenant's events; without it the events of all tenants and of apps")
	cmd.Flags().StringSliceVar(&types, "events", nil, "only these event types, separated by commas; without it all types")
	return cmd
}

func (s *shell) webhookList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the endpoints", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		access, err := accessOf(cmd)
		if err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			all, err := notify.NewStore(deps.DB).Endpoints(cmd.Context(), access)
			if err != nil {
				return err
			}
			if asJSON {
				return s.json(all)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "ENDPOINT\tTENANT\tURL\tEVENTS\tOLD SECRET UNTIL")
			for _, w := range all {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", w.ID, orAll(w.TenantID), w.URL, orAll(joined(w.Types)), instant(w.OldSecretUntil))
			}
			return table.Flush()
		})
	}}
	cmd.Flags().String("tenant", "", "only this tenant's")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func orAll(s string) string {
	if s == "" {
		return "(all)"
	}
	return s
}

func joined(types []perennial.EventType) string {
	var out []string
	for _, t := range types {
		out = append(out, string(t))
	}
	return strings.Join(out, ",")
}

func (s *shell) webhookRotate() *cobra.Command {
	var keep time.Duration
	cmd := &cobra.Command{Use: "rotate ENDPOINT", Short: "Give an endpoint a new secret, printed only once; the old one also signs for a while", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		if keep < 0 {
			return perennial.Errorf(perennial.CodeInvalid, "--keep must not be below zero")
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			secret, err := deps.Notify(nil).Rotate(cmd.Context(), perennial.CommandLineAccess(), args[0], keep)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "secret    %s\nThe secret is not shown again. For %s every message carries the old secret's signature too.\n", secret.Reveal(), keep)
			return nil
		})
	}}
	cmd.Flags().DurationVar(&keep, "keep", oldSecretKept, "how long the old secret goes on signing; 0 if others know it")
	return cmd
}

func (s *shell) webhookRemove() *cobra.Command {
	return &cobra.Command{Use: "remove ENDPOINT", Short: "Send an endpoint nothing more", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := notify.NewStore(deps.DB).RemoveEndpoint(cmd.Context(), perennial.CommandLineAccess(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s is removed; its undelivered messages are dead.\n", args[0])
			return nil
		})
	}}
}

func (s *shell) webhookDeliveries() *cobra.Command {
	var dead, asJSON bool
	var limit int
	cmd := &cobra.Command{Use: "deliveries", Short: "Show the last deliveries", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			var state perennial.DeliveryState
			if dead {
				state = perennial.DeliveryDead
			}
			all, err := notify.NewStore(deps.DB).Deliveries(cmd.Context(), perennial.CommandLineAccess(), state, limit+1)
			if err != nil {
				return err
			}
			all = cut(s, all, limit, "deliveries")
			if asJSON {
				return s.json(all)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "SINCE\tEVENT\tENDPOINT\tSTATE\tTRIES\tNEXT TRY\tWHY")
			for _, d := range all {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", instant(d.CreatedAt), d.EventID, d.EndpointID, d.State, d.Tries, instant(d.NextTryAt), d.LastError)
			}
			return table.Flush()
		})
	}}
	lastFlag(cmd, &limit, deliveriesShown, "deliveries")
	cmd.Flags().BoolVar(&dead, "dead", false, "only deliveries that were given up")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) webhookRedeliver() *cobra.Command {
	return &cobra.Command{Use: "redeliver EVENT ENDPOINT", Short: "Send an event again that was given up, or that the receiver lost", Args: exactly(2), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if err := notify.NewStore(deps.DB).Redeliver(cmd.Context(), perennial.CommandLineAccess(), args[0], args[1]); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s is sent to %s again as soon as a worker runs.\n", args[0], args[1])
			return nil
		})
	}}
}
