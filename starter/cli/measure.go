package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/printable"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/measure"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// measuring has the flags of provider measure.
type measuring struct {
	client   clientFlags
	wait     time.Duration
	consents int
	api      string
	against  string
	plan     bool
	asJSON   bool
}

func (s *shell) providerMeasure() *cobra.Command {
	var m measuring
	cmd := &cobra.Command{Use: "measure NAME", Short: "Find by experiment how a provider treats tokens, and print the lines of its description", Args: exactly(1),
		Long: "It asks you for consents of an account that you can spare, presents their tokens in every way that matters, and revokes them at the end. It never uses a stored connection, and shows and stores no token. --plan lists the experiments and their cost. " + whichDescription,
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.measure(cmd.Context(), args[0], m)
		}}
	m.client.add(cmd)
	cmd.Flags().DurationVar(&m.wait, "wait", time.Minute, "the longest time to wait for an effect: a window, the end of a token")
	cmd.Flags().IntVar(&m.consents, "consents", 4, "how many consents may be asked for")
	cmd.Flags().StringVar(&m.api, "api", "", "an address of the provider's API that answers 2xx to a good access token and 401 to any other; left out: the introspection, if there is one")
	cmd.Flags().StringVar(&m.against, "against", "", "compare with this description: NAME or FILE")
	cmd.Flags().BoolVar(&m.plan, "plan", false, "only list the experiments")
	cmd.Flags().BoolVar(&m.asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shell) measure(ctx context.Context, name string, m measuring) error {
	if m.plan {
		return s.plan(ctx, name, m)
	}
	app, err := s.client(ctx, name, m.client)
	if err != nil {
		return err
	}
	var other *provider.Entry
	if m.against != "" {
		e, _, err := s.described(ctx, m.against)
		if err != nil {
			return err
		}
		other = &e
	}
	say := printable.NewWriter(s.errOut)
	c := s.measureConfig(app, m, say)
	if err := s.printPlan(say, measure.Plan(c), false); err != nil {
		return err
	}
	result, stopped := measure.Run(ctx, c)
	if stopped != nil && len(result.Findings) == 0 {
		return stopped
	}
	err = s.measured(result, other, m.asJSON)
	if result.Left > 0 {
		fmt.Fprintf(say, "%d grants could not be revoked. Remove the access at the provider: %s\n", result.Left, or(app.Provider.RemoveAccess, "the description does not say where"))
	}
	if err == nil {
		err = stopped
	}
	return err
}

// plan prints the experiments. It needs no secret.
func (s *shell) plan(ctx context.Context, name string, m measuring) error {
	app, configured, err := s.configuredClient(ctx, name, false)
	if err == nil && !configured {
		app.Provider, _, err = s.described(ctx, name)
	}
	if err != nil {
		return err
	}
	if len(app.ClientSecrets) == 0 {
		app.ClientSecrets = []perennial.Secret{perennial.NewSecret("a secret that is not read")}
	}
	return s.printPlan(s.out, measure.Plan(s.measureConfig(app, m, io.Discard)), m.asJSON)
}

func (s *shell) measureConfig(app provider.App, m measuring, say io.Writer) measure.Config {
	client := provider.NewClient(provider.ClientConfig{})
	asked := s.consents(app, m.client.redirect)
	c := measure.Config{App: app, Client: client, Longest: m.wait, Consents: m.consents,
		Consent: func(ctx context.Context) (perennial.TokenSet, error) { return asked.exchange(ctx, client) },
		Say:     func(line string) { fmt.Fprintln(say, line) }}
	if m.api != "" || app.Provider.IntrospectURL != "" {
		c.Alive = func(ctx context.Context, token perennial.Secret) (bool, error) {
			return client.TokenWorks(ctx, app, m.api, token)
		}
	}
	return c
}

func (s *shell) printPlan(out io.Writer, steps []measure.Step, asJSON bool) error {
	if asJSON {
		return s.json(steps)
	}
	table := printable.NewTable(out)
	fmt.Fprintln(table, "EXPERIMENT\tDOES\tCOSTS")
	for _, step := range steps {
		costs := step.Costs
		if step.Cannot != "" {
			costs = "cannot be made: " + step.Cannot
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", step.Name, step.Does, costs)
	}
	return table.Flush()
}

// shownMeasured is what was measured, as the command line prints it in JSON.
type shownMeasured struct {
	measure.Result
	Lines   map[string]any    `json:"description"`       // the measured lines of the description
	Against []provider.Change `json:"against,omitempty"` // what the description compared with says otherwise

	text string // the lines as YAML
}

func showMeasured(r measure.Result, other *provider.Entry) (shownMeasured, error) {
	out := shownMeasured{Result: r, Lines: map[string]any{}}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(r.Description); err != nil {
		return out, fmt.Errorf("write the description: %w", err)
	}
	if err := yaml.Unmarshal(text.Bytes(), &out.Lines); err != nil {
		return out, fmt.Errorf("read the description: %w", err)
	}
	out.text = text.String()
	if other != nil {
		out.Against = r.Against(*other)
		if out.Against == nil {
			out.Against = []provider.Change{}
		}
	}
	return out, nil
}

// measured prints what was measured.
func (s *shell) measured(r measure.Result, other *provider.Entry, asJSON bool) error {
	shown, err := showMeasured(r, other)
	switch {
	case err != nil:
		return err
	case asJSON:
		return s.json(shown)
	}
	return s.printMeasured(r, shown)
}

// printMeasured prints YAML: what was seen stands in comments.
func (s *shell) printMeasured(r measure.Result, shown shownMeasured) error {
	for _, f := range r.Findings {
		key := strings.TrimSpace(f.Key + ": " + f.Value)
		if f.NotMeasured != "" {
			fmt.Fprintf(s.out, "# %s not measured: %s\n", key, f.NotMeasured)
			continue
		}
		fmt.Fprintf(s.out, "# %s (%s)\n", key, f.Saw)
	}
	fmt.Fprint(s.out, shown.text)
	if shown.Against == nil {
		return nil
	}
	var changes bytes.Buffer
	(&shell{out: &changes}).printChanges(shown.Against)
	for line := range strings.Lines("Compared with the other description:\n" + changes.String()) {
		fmt.Fprint(s.out, "# ", line)
	}
	return nil
}
