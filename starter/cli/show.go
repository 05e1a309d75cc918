package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
)

// shown is a connection as the command line prints it in JSON.
type shown struct {
	perennial.Connection
	Words    perennial.StatusText `json:"words"`
	Attempts []perennial.Attempt  `json:"attempts,omitempty"`
}

func (s *shell) list() *cobra.Command {
	var f store.Filter
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List connections", Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
		if err := checkFilter(f); err != nil {
			return err
		}
		access, err := accessOf(cmd)
		if err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			connections, err := deps.Store.List(cmd.Context(), access, f)
			if err != nil {
				return err
			}
			if len(connections) == 0 {
				if err := knownNames(cmd.Context(), deps, f); err != nil {
					return err
				}
			}
			if err := s.printList(deps, connections, asJSON, !access.EveryTenant() || f != store.Filter{Limit: f.Limit}); err != nil {
				return err
			}
			return s.sayMore(cmd.Context(), deps, access, f, connections)
		})
	}}
	cmd.Flags().StringVar((*string)(&f.Status), "status", "", "only these: "+joinedNames(perennial.Statuses))
	cmd.Flags().StringVar((*string)(&f.Health), "health", "", "only active ones of this health: "+joinedNames(perennial.Healths))
	cmd.Flags().StringVar(&f.Provider, "provider", "", "only this provider's")
	cmd.Flags().StringVar(&f.App, "app", "", "only this app's")
	cmd.Flags().String("tenant", "", "only this tenant's")
	cmd.Flags().StringVar(&f.AccountID, "account", "", "only this account's: its id at the provider")
	cmd.Flags().StringVar(&f.After, "after", "", "the page after this connection id")
	cmd.Flags().IntVar(&f.Limit, "limit", 100, "how many, at most "+strconv.Itoa(maxShown))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	completeFlags(cmd)
	return cmd
}

func (s *shell) printList(deps *wiring.Deps, connections []perennial.Connection, asJSON, filtered bool) error {
	if asJSON {
		out := make([]shown, 0, len(connections))
		for _, c := range connections {
			c = c.WithoutStale()
			out = append(out, shown{Connection: c, Words: describe(deps, c)})
		}
		return s.json(out)
	}
	if len(connections) == 0 && filtered {
		fmt.Fprintln(s.out, "No connection matches.")
		return nil
	}
	if len(connections) == 0 {
		fmt.Fprintln(s.out, "No connections. Make one with `perennial connect`.")
		return nil
	}
	table := printable.NewTable(s.out)
	fmt.Fprintln(table, "ID\tTENANT\tAPP\tACCOUNT\tSTATUS\tGENERATION\tEXPIRES")
	for _, c := range connections {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", c.ID, c.TenantID, c.App, c.AccountID, words(deps, c), c.Generation, instant(c.WithoutStale().ExpiresAt))
	}
	return table.Flush()
}

// ledgerShown is the number of attempts that `show` prints by default.
const ledgerShown = 20

func (s *shell) show() *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{Use: "show ID", Short: "Show one connection and its last attempts", Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
		if err := checkLimit(limit); err != nil {
			return err
		}
		return s.open(cmd.Context(), func(deps *wiring.Deps) error {
			c, now, err := deps.Store.Get(cmd.Context(), perennial.CommandLineAccess(), args[0])
			if err != nil {
				return err
			}
			c = c.WithoutStale()
			attempts, err := deps.Store.Attempts(cmd.Context(), perennial.CommandLineAccess(), c.ID, limit+1)
			if err != nil {
				return err
			}
			attempts = cut(s, attempts, limit, "attempts")
			if asJSON {
				return s.json(shown{c, describe(deps, c), attempts})
			}
			return s.print(deps, c, attempts, now)
		})
	}}
	lastFlag(cmd, &limit, ledgerShown, "attempts")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) print(deps *wiring.Deps, c perennial.Connection, attempts []perennial.Attempt, now time.Time) error {
	w := describe(deps, c)
	table := printable.NewTable(s.out)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("connection", "%s", c.ID)
	line("customer sees", "%s", w)
	if w.Action != "" {
		line("what to do", "%s", w.Action)
	}
	line("status", "%s %s", c.Status, c.Reason)
	if c.Health != "" {
		line("health", "%s %s", c.Health, c.FailingCode)
	}
	if next := perennial.Outlook(c.Status); next != "" {
		line("what happens next", "%s", next)
	}
	line("tenant, app, account", "%s, %s, %s", c.TenantID, c.App, c.AccountID)
	if len(c.MissingScopes) > 0 {
		line("lost permissions", "%s", strings.Join(c.MissingScopes, " "))
	}
	line("generation", "%d (%d refreshes)", c.Generation, c.RefreshCount)
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"access token expires", c.ExpiresAt}, {"next refresh", c.NextRefreshAt}, {waitName(c), c.NextAttemptAt}, {"confirmed at", c.ConfirmAt},
		{"refresh token expires unused", c.RefreshTokenExpiresAt}, {"grant ends", c.GrantExpiresAt}, {"may have been spent since", c.AmbiguousSince}, {setAsideName(c), setAsideUntil(c)}} {
		if !t.at.IsZero() {
			line(t.name, "%s (%s)", instant(t.at), t.at.Sub(now).Round(time.Second))
		}
	}
	if !c.ForcedAt.IsZero() {
		line("refreshed for callers", "%d in a row before one was due, the last %s (%s)", c.ForcedCount, instant(c.ForcedAt), c.ForcedAt.Sub(now).Round(time.Second))
	}
	if err := table.Flush(); err != nil || len(attempts) == 0 {
		return err
	}
	fmt.Fprintf(s.out, "\nLast attempts, newest first:\n")
	table = printable.NewTable(s.out)
	fmt.Fprintln(table, "STARTED\tGENERATION\tTRIGGER\tOUTCOME\tCODE\tHTTP\tTOOK\tLIFE LEFT")
	for _, a := range attempts {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n", instant(a.StartedAt), a.Generation, a.Trigger, a.Outcome, a.ErrorCode, a.HTTPStatus,
			a.Duration.Round(time.Millisecond), a.LifeLeft.Round(time.Second))
	}
	return table.Flush()
}

// waitName says whose wait it is that ends at the connection's next attempt.
func waitName(c perennial.Connection) string {
	if c.OwnWait() {
		return "waits until" // our own: `perennial refresh --now` ends it
	}
	return "not before"
}

// setAsideName says what the connection waits for until [setAsideUntil].
func setAsideName(c perennial.Connection) string {
	if c.FailingCode == store.CodeReplyKept {
		return "`perennial recover` may read its kept reply until"
	}
	return "a newer token set is set aside until"
}

// setAsideUntil returns until when the connection waits for a newer token set, or zero.
func setAsideUntil(c perennial.Connection) time.Time {
	if !c.HasSetAside() {
		return time.Time{}
	}
	return c.SetAsideUntil
}

func (s *shell) json(v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := s.out.Write(printable.EscapeJSON(text.Bytes()))
	return err
}

func describe(deps *wiring.Deps, c perennial.Connection) perennial.StatusText {
	title := c.Provider
	if app, err := deps.Config.App(c.App); err == nil {
		title = app.Provider.Title
	}
	return c.Words(title)
}

func words(deps *wiring.Deps, c perennial.Connection) string { return describe(deps, c).String() }

func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}
