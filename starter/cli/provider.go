package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/internal/strictyaml"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func (s *shell) provider() *cobra.Command {
	cmd := &cobra.Command{Use: "provider", Short: "Look at descriptions of providers: the catalogue's, a file's, an app's"}
	cmd.AddCommand(s.providerList(), s.providerShow(), s.providerCheck(), s.providerDiff(), s.providerRead(), s.providerAccept(), s.providerRegister(), s.providerTry(), s.providerMeasure())
	return cmd
}

// shownProvider is an entry as the command line prints it in JSON.
type shownProvider struct {
	Name            string                `json:"name"`
	Title           string                `json:"title"`
	ReplayClass     perennial.ReplayClass `json:"replay_class"`
	GraceWindow     provider.Span         `json:"grace_window,omitempty"`
	DefaultLifetime provider.Span         `json:"default_lifetime,omitempty"`
	IdleLifetime    provider.Span         `json:"idle_lifetime,omitempty"`
	GrantLifetime   provider.Span         `json:"grant_lifetime,omitempty"`
	Facts           int                   `json:"facts"`          // of the ten of provider.Facts, those that somebody has looked for
	FromProvider    int                   `json:"facts_provider"` // of these, from a page of the provider's own
	Measured        int                   `json:"facts_measured"`
	ThirdParty      int                   `json:"facts_third_party"`
	NotDocumented   int                   `json:"facts_not_documented"`
}

func showProvider(e provider.Entry) shownProvider {
	d := provider.Describe(e)
	out := shownProvider{Name: e.Name, Title: e.Title, ReplayClass: e.ReplayClass, GraceWindow: d.GraceWindow,
		DefaultLifetime: d.DefaultLifetime, IdleLifetime: d.IdleLifetime, GrantLifetime: d.GrantLifetime}
	count := e.CountFacts()
	out.Facts = len(provider.Facts) - count[provider.ByNobodyLooking]
	out.FromProvider, out.Measured = count[provider.ByProvider], count[provider.ByMeasurement]
	out.ThirdParty, out.NotDocumented = count[provider.ByThirdParty], count[provider.ByNobody]
	return out
}

// counts says how many of the ten facts are known, and how.
func (p shownProvider) counts() string {
	var parts []string
	for _, part := range []struct {
		n    int
		text string
	}{{p.FromProvider, "by the provider"}, {p.Measured, "measured"}, {p.ThirdParty, "by others"}, {p.NotDocumented, "not documented"}, {len(provider.Facts) - p.Facts, "not looked up"}} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.text))
		}
	}
	return strings.Join(parts, ", ")
}

func (s *shell) providerList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the providers of the catalogue", Args: exactly(0), RunE: func(*cobra.Command, []string) error {
		var all []shownProvider
		for _, name := range provider.Names() {
			e, _ := provider.Lookup(name)
			all = append(all, showProvider(e))
		}
		if asJSON {
			return s.json(all)
		}
		table := printable.NewTable(s.out)
		fmt.Fprintln(table, "NAME\tTITLE\tREPLAY CLASS\tWINDOW\tACCESS TOKEN\tUNUSED\tHARD END\tFACTS OF 10")
		for _, p := range all {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Title, p.ReplayClass, or(string(p.GraceWindow), "-"),
				or(string(p.DefaultLifetime), "-"), or(string(p.IdleLifetime), "-"), or(string(p.GrantLifetime), "-"), p.counts())
		}
		return table.Flush()
	}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

const whichDescription = "NAME is an app of the configuration, an entry of the catalogue, or a file that ends with .yaml. If an app has an entry's name, catalogue:NAME is the entry."

func (s *shell) providerShow() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Print a whole description as YAML, with its sources", Args: exactly(1),
		Long: whichDescription + " An app's description is the catalogue's with what the configuration lays over it, and with what its provider says about itself.",
		RunE: func(cmd *cobra.Command, args []string) error {
			e, lines, err := s.described(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, line := range lines {
				fmt.Fprintln(s.out, "#", line)
			}
			out := yaml.NewEncoder(s.out)
			out.SetIndent(2)
			if err := out.Encode(provider.Describe(e)); err != nil {
				return fmt.Errorf("write the description: %w", err)
			}
			return out.Close()
		}}
}

func (s *shell) providerCheck() *cobra.Command {
	return &cobra.Command{Use: "check FILE", Short: "Check a file that describes a provider", Args: exactly(1), RunE: func(_ *cobra.Command, args []string) error {
		e, err := readDescription(args[0])
		if err != nil {
			return err
		}
		shown := showProvider(e)
		fmt.Fprintf(s.out, "%s is a whole description: replay class %s. Of ten facts, %s.\n", args[0], e.ReplayClass, shown.counts())
		return nil
	}}
}

func (s *shell) providerDiff() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "diff NAME [NAME]", Short: "Show what differs between two descriptions, and what that changes for an app in use",
		Long: whichDescription + " The second takes the place of the first. With one NAME the first is the catalogue's entry of that name, or of that app's provider.",
		Args: cobra.RangeArgs(1, 2), RunE: func(cmd *cobra.Command, args []string) error {
			to, _, err := s.described(cmd.Context(), args[len(args)-1])
			if err != nil {
				return err
			}
			from, ok := provider.Lookup(to.Name)
			if len(args) == 2 {
				from, _, err = s.described(cmd.Context(), args[0])
			} else if !ok {
				err = perennial.Errorf(perennial.CodeInvalid, "%q is not in the catalogue: say what to compare it with", to.Name)
			}
			if err != nil {
				return err
			}
			changes := provider.Diff(from, to)
			if asJSON {
				return s.json(changes)
			}
			s.printChanges(changes)
			return nil
		}}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) printChanges(changes []provider.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(s.out, "They say the same.")
	}
	for i, c := range changes {
		switch {
		case c.From == "":
			fmt.Fprintf(s.out, "+ %s: %s\n", c.Key, c.To)
		case c.To == "":
			fmt.Fprintf(s.out, "- %s: %s\n", c.Key, c.From)
		default:
			fmt.Fprintf(s.out, "~ %s: %s, was %s\n", c.Key, c.To, c.From)
		}
		if last := i+1 == len(changes) || changes[i+1].Effect != c.Effect; last && c.Effect != "" {
			fmt.Fprintf(s.out, "    %s\n", c.Effect)
		}
	}
}

// described finds an entry of the catalogue, an app or a file. lines say where an app's
// description comes from, if its provider describes itself; only then the database is
// read.
func (s *shell) described(ctx context.Context, name string) (e provider.Entry, lines []string, err error) {
	if isFile(name) {
		e, err = readDescription(name)
		return e, nil, err
	}
	entry, catalogued := provider.Lookup(strings.TrimPrefix(name, "catalogue:"))
	if catalogued && strings.HasPrefix(name, "catalogue:") {
		return entry, nil, nil
	}
	notFound := perennial.Errorf(perennial.CodeNotFound, "there is no provider %q in the catalogue, and no app of that name%s; `perennial provider list` lists the catalogue; a file's name ends with .yaml",
		name, strictyaml.DidYouMean(name, provider.Names()))
	app, err := s.configuredApp(name)
	switch {
	case catalogued && app == nil: // an entry needs no configuration that can be read
		return entry, nil, nil
	case err != nil:
		return e, nil, err
	case app == nil:
		return e, nil, notFound
	case app.Discovery == nil:
		return app.Provider, nil, nil
	}
	err = s.withoutKeys(ctx, func(deps *wiring.Deps) error {
		done, shown, err := pinned(ctx, deps, name)
		if e, lines = done.Provider, shown.Lines(); shown.Pin.App == "" {
			lines = []string{"what the provider says about itself has not been read yet: `perennial provider read " + name + "`"}
		}
		if err == nil && shown.Pin.App != "" && app.ClientID == "" {
			lines, err = clientLines(ctx, deps, *app, shown.Metadata.Issuer, lines)
		}
		return err
	})
	return e, lines, err
}

// configuredApp returns the configuration's app of that name, nil if there is no such app
// or no configuration.
func (s *shell) configuredApp(name string) (*provider.App, error) {
	if _, err := os.Stat(s.config); err != nil {
		return nil, nil
	}
	cfg, err := config.LoadWithoutSecrets(s.config, s.environ)
	if err != nil {
		return nil, err
	}
	if app, err := cfg.Configured(name); err == nil {
		return &app, nil
	}
	return nil, nil
}

func readDescription(path string) (provider.Entry, error) {
	e, err := provider.ReadFile(path)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) {
		return e, perennial.Errorf(perennial.CodeInvalid, "read the description: %w", err)
	}
	return e, err
}
