// Command cmd simulates a fleet by the scheduling policy and prints a table, or
// JSON with --json.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/perennial-oauth/perennial/bench/sim"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	var c sim.Config
	flags.IntVar(&c.Connections, "connections", 1_000_000, "connections of the fleet")
	flags.DurationVar(&c.For, "for", 0, "how long is simulated; 0: 72h")
	flags.Uint64Var(&c.Seed, "seed", 1, "of what is random")
	asJSON := flags.Bool("json", false, "print JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	result, err := sim.Run(c)
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
