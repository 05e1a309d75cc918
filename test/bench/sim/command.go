package sim

import (
	"encoding/json"
	"flag"
	"io"
)

// Command is the bench's scenario simulate. It reads args and writes a table or JSON to
// out.
func Command(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	var c Config
	flags.IntVar(&c.Connections, "connections", 1_000_000, "connections of the fleet")
	flags.DurationVar(&c.For, "for", 0, "how long is simulated; 0: 72h")
	flags.Uint64Var(&c.Seed, "seed", 1, "of what is random")
	asJSON := flags.Bool("json", false, "print JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	result, err := Run(c)
	if err != nil {
		return err
	}
	if !*asJSON {
		return result.Table(out)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(result)
}
