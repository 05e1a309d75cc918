package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/spf13/cobra"
)

// shownApp is an app as the command line prints it in JSON.
type shownApp struct {
	store.AppState
	Provider     string                `json:"provider"`
	TokenURL     string                `json:"token_url"`
	ReplayClass  perennial.ReplayClass `json:"replay_class"`
	ReplaySource string                `json:"replay_source"`
	MaxPerSecond float64               `json:"max_refreshes_per_second,omitempty"`
	Metadata     *shownMetadata        `json:"metadata,omitempty"`
}

// shownMetadata is what a provider says about itself, as the command line prints it in
// JSON.
type shownMetadata struct {
	ReadFrom   string             `json:"read_from,omitempty"` // empty: it was never read
	ReadAt     time.Time          `json:"read_at,omitzero"`
	AcceptedAt time.Time          `json:"accepted_at,omitzero"`
	CheckedAt  time.Time          `json:"checked_at,omitzero"`
	Problem    string             `json:"problem,omitempty"`
	Change     string             `json:"change,omitempty"` // the id of what waits to be accepted
	Changes    []discovery.Change `json:"changes,omitempty"`
	lines      []string
}

// metadataOf returns nil for an app whose provider does not describe itself.
func metadataOf(configured provider.App, shown discovery.Shown, err error) *shownMetadata {
	if configured.Discovery == nil {
		return nil
	}
	if err != nil {
		return &shownMetadata{Problem: err.Error(), lines: []string{err.Error()}}
	}
	if shown.Pin.App == "" {
		return &shownMetadata{Problem: "never read", lines: []string{"what the provider says about itself was never read: nothing of the app can be used"}}
	}
	out := &shownMetadata{ReadFrom: shown.Metadata.From, ReadAt: shown.Pin.ReadAt, AcceptedAt: shown.Pin.AcceptedAt, CheckedAt: shown.Pin.CheckedAt,
		Problem: shown.Pin.Problem, Changes: shown.Changes, lines: shown.Lines()}
	if shown.Pin.Changed != "" {
		out.Change = discovery.ID(shown.Pin.Changed)
	}
	return out
}

// troubles describes what is wrong with the metadata, for a line of a table.
func (m *shownMetadata) troubles() []string {
	switch {
	case m == nil:
		return nil
	case m.Change != "":
		return []string{"the provider's metadata have changed"}
	case m.ReadFrom == "":
		return []string{"the provider's metadata: " + m.Problem}
	}
	return nil
}

func (s *shell) app() *cobra.Command {
	cmd := &cobra.Command{Use: "app", Short: "Look after apps: circuits, limits, refusal holds"}
	cmd.AddCommand(s.appList(), s.appShow(),
		s.appTurn("hold APP", "Stop moving the app's connections to reconnect_required; refreshing goes on",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				return "held: no connection moves to reconnect_required until `perennial app release` or `perennial app confirm`",
					deps.Store.RaiseRefusalHold(cmd.Context(), app, "by hand")
			}),
		s.appTurn("release APP", "End a refusal hold as a false alarm: forget the refusals, and probe an open circuit now",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				return "released: refused connections try again", deps.Store.DismissRefusalHold(cmd.Context(), app)
			}),
		s.appTurn("confirm APP", "End a refusal hold because the refusals are real: try each connection once more, then believe its refusal",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				return "confirmed: refused connections are tried once more; no spike raises a new refusal hold for an hour", deps.Store.ConfirmRefusalHold(cmd.Context(), app)
			}),
		s.appTurn("stop APP", "Stop an app: nothing of it is presented to its provider, by anybody, until it is started",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				return "stopped: nothing of it is presented until `perennial app start`; access tokens are handed out to their end", deps.Store.StopApp(cmd.Context(), app)
			}),
		s.appTurn("start APP", "Start an app that was stopped: its waiting connections are released one after another",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				return "started: its waiting connections are released one after another", deps.Store.StartApp(cmd.Context(), app)
			}),
		s.appTurn("close APP", "Close an app's open circuits without a probe: its waiting connections are released one after another",
			func(deps *wiring.Deps, cmd *cobra.Command, app string) (string, error) {
				hosts, err := deps.Store.CloseCircuits(cmd.Context(), app)
				return "releasing at " + strings.Join(hosts, ", ") + ": the first failure of the kind opens the circuit again", err
			}),
		s.appProbe())
	return cmd
}

func (s *shell) appTurn(use, short string, do func(*wiring.Deps, *cobra.Command, string) (string, error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			if _, err := deps.Config.Configured(args[0]); err != nil {
				return err
			}
			done, err := do(deps, cmd, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%s is %s.\n", args[0], done)
			return nil
		})
	}}
}

// appProbe asks the canaries' workflows for a refresh, and prints the outcome of each.
func (s *shell) appProbe() *cobra.Command {
	return &cobra.Command{Use: "probe APP", Short: "Probe an app's open circuits now, with a connection that only waits for a backoff of our own", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.service(cmd.Context(), func(deps *wiring.Deps, _ *connect.Service, t *connect.Temporal) error {
			app, err := deps.Config.App(args[0])
			if err != nil {
				return err
			}
			called, err := deps.Store.ProbeNow(cmd.Context(), app.Name, refresh.WaitingClass(app.Provider))
			if err != nil {
				return err
			}
			if len(called) == 0 {
				return perennial.Errorf(perennial.CodeUnavailable, "no connection of app %s may be presented now: each waits for its provider, or is under way; the first that may is the canary", app.Name)
			}
			var failed []error
			for _, c := range called {
				failed = append(failed, s.probe(cmd.Context(), t, c))
			}
			return errors.Join(failed...)
		})
	}}
}

// probe has one canary refreshed.
func (s *shell) probe(ctx context.Context, t *connect.Temporal, c perennial.Connection) error {
	if err := t.Signal(ctx, c, workflows.SignalNudge); err != nil { // ends an activity that backs off
		return err
	}
	reply, err := connect.Refresh(ctx, t, c, workflows.NewerThan(c))
	if err != nil {
		return err
	}
	result := fmt.Sprintf("%s %s", reply.Outcome, reply.Code)
	if reply.Generation > c.Generation {
		result = "refreshed; the circuit releases the others"
	}
	fmt.Fprintf(s.out, "%s: %s is the canary: %s\n", c.Host, c.ID, strings.TrimSpace(result))
	return nil
}

func (s *shell) appList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the apps and their troubles", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			var all []shownApp
			for _, app := range deps.Config.Apps {
				state, err := deps.Store.AppState(cmd.Context(), app.Name)
				if err != nil {
					return err
				}
				all = append(all, showApp(app, state))
				_, shown, err := pinned(cmd.Context(), deps, app.Name)
				all[len(all)-1].Metadata = metadataOf(app, shown, err)
			}
			if asJSON {
				return s.json(all)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "APP\tPROVIDER\tACTIVE\tFAILING\tQUEUED\tRECONNECT\tTROUBLE")
			for _, a := range all {
				fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%d\t%s\n", a.App, a.Provider, a.Connections[perennial.StatusActive], a.Failing, a.Queued,
					a.Connections[perennial.StatusReconnectRequired], strings.Join(append(troubles(a.AppState), a.Metadata.troubles()...), "; "))
			}
			return table.Flush()
		})
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) appShow() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "show APP", Short: "Show one app: its client, its circuits, its refusal hold", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			configured, err := deps.Config.Configured(args[0])
			if err != nil {
				return err
			}
			state, err := deps.Store.AppState(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			app, metadata, err := pinned(cmd.Context(), deps, args[0])
			shown := showApp(app, state)
			shown.Metadata = metadataOf(configured, metadata, err)
			if asJSON {
				return s.json(shown)
			}
			return s.printApp(shown)
		})
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showApp(app provider.App, state store.AppState) shownApp {
	return shownApp{AppState: state, Provider: app.Provider.Name, TokenURL: app.Provider.TokenURL, ReplayClass: app.Provider.ReplayClass,
		ReplaySource: app.Provider.ReplaySource, MaxPerSecond: app.MaxRefreshesPerSecond}
}

func (s *shell) printApp(a shownApp) error {
	table := printable.NewTable(s.out)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("app", "%s (%s)", a.App, a.Provider)
	line("token endpoint", "%s", a.TokenURL)
	if a.Metadata != nil {
		for _, text := range a.Metadata.lines {
			line("metadata", "%s", text)
		}
	}
	line("replay class", "%s (%s)", a.ReplayClass, a.ReplaySource)
	if a.MaxPerSecond > 0 {
		line("limit", "%g requests a second over the whole fleet", a.MaxPerSecond)
	}
	for _, status := range perennial.Statuses {
		line(string(status), "%d", a.Connections[status])
	}
	line("failing", "%d", a.Failing)
	line("waiting for others", "%d", a.Queued)
	line("refused once, or held", "%d", a.Suspect)
	for _, trouble := range troubles(a.AppState) {
		line("trouble", "%s", trouble)
	}
	for _, e := range a.Evidence {
		line("failures", "%s: %d connections of tenant %s, %s (%s), since %s; %d of them were well before", e.Host, e.Connections, e.TenantID, e.Kind, e.Code, instant(e.Since), e.Counted)
	}
	for _, tenant := range a.ImportHolds {
		line("imports on hold", "tenant %s: its imported tokens are refused", tenant)
	}
	if a.ConsentHold {
		line("consents on hold", "%s", "most first refreshes after a consent are refused: look at what the provider gives out, and for how long")
	}
	if a.OperatorDid != "" {
		line("an operator did last", "%s, at %s", a.OperatorDid, instant(a.OperatorAt))
	}
	if !a.StoppedAt.IsZero() {
		line("what to do", "%s", "If it may go on, run `perennial app start`.")
	}
	if a.RefusalHold || a.ConsentHold || len(a.ImportHolds) > 0 {
		line("what to do", "%s", "Ask the provider. If it is a false alarm, run `perennial app release`; if the refusals are real, `perennial app confirm`.")
	}
	return table.Flush()
}

// troubles describes the app's open circuits, refusal hold and slow-down.
func troubles(a store.AppState) []string {
	var out []string
	for _, c := range a.Circuits {
		switch {
		case c.Releasing:
			out = append(out, fmt.Sprintf("circuit at %s releases the waiting connections since %s: it was open since %s: %s (%s)", c.Host, instant(c.ReleasingAt), instant(c.OpenedAt), c.Reason, c.Code))
		case c.Open:
			out = append(out, fmt.Sprintf("circuit open at %s since %s: %s (%s), next probe %s", c.Host, instant(c.OpenedAt), c.Reason, c.Code, instant(c.NextProbeAt)))
		}
	}
	if !a.StoppedAt.IsZero() {
		out = append(out, fmt.Sprintf("stopped by an operator since %s: nothing of it is presented", instant(a.StoppedAt)))
	}
	if a.RefusalHold {
		out = append(out, fmt.Sprintf("hold_terminal since %s: %s", instant(a.HoldRaisedAt), a.HoldReason))
	}
	if a.SlowUntil.After(time.Now()) {
		out = append(out, fmt.Sprintf("slowed down by the provider until %s", instant(a.SlowUntil)))
	}
	return out
}

// eventsShown is the number of events that `events` prints by default.
const eventsShown = 50

func (s *shell) events() *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{Use: "events [ID]", Short: "Show the last events, of all connections or of one", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			id := ""
			if len(args) == 1 {
				id = args[0]
				if _, _, err := deps.Store.Get(cmd.Context(), perennial.CommandLineAccess(), id); err != nil {
					return err
				}
			}
			events, err := deps.Store.Events(cmd.Context(), id, limit+1)
			if err != nil {
				return err
			}
			events = cut(s, events, limit, "events")
			if asJSON {
				return s.json(events)
			}
			table := printable.NewTable(s.out)
			fmt.Fprintln(table, "AT\tTYPE\tAPP\tCONNECTION\tWHY")
			for _, e := range events {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", instant(e.CreatedAt), e.Type, e.App, e.ConnectionID, why(e))
			}
			return table.Flush()
		})
	}}
	lastFlag(cmd, &limit, eventsShown, "events")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func why(e perennial.Event) string {
	switch {
	case e.Type == perennial.EventExpiringSoon:
		return fmt.Sprintf("%s ends %s, in at most %d days", e.Data.Clock, instant(e.Data.EndsAt), e.Data.Days)
	case e.Type == perennial.EventScopesMissing:
		return strings.Join(e.Data.MissingScopes, " ")
	case e.Data.Reason != "":
		return string(e.Data.Reason)
	case e.Data.Host != "":
		return e.Data.Host + " " + e.Data.Code
	default:
		return e.Data.Code
	}
}
