// Command bench measures what a refresh costs, and compares that with two programs that
// a team without Perennial would write:
//
//	go run ./test/bench SCENARIO --json
//
// It starts its own PostgreSQL (one for the connections, another for Temporal), a
// Temporal server, the fake provider and one worker, each a process of its own,
// and for every variant all of them anew. What is compared is measured in one
// invocation, in turn; with --runs the variants take turns as often.
//
// Variants:
//
//	naive   a workflow that sleeps until the token is due and runs an activity
//	        with default options: SELECT, POST, UPDATE; what a good team writes
//	        at the first go
//	poller  no Temporal: a loop over the due rows around this repository's engine
//	own     the product's worker, each connection's workflow wakes for itself
//	pooled  the same with "pace: pooled"
//
// Scenarios:
//
//	warm     the fleet fits the worker's cache; with --saturate more is due than can be done
//	cold     the fleet is ten times the cache: every wake replays, a history that is
//	         as long as the variant's become, half a run on the average
//	growth   fleets of --sizes at the same refreshes a second
//	start    how fast connections are created, and what each costs
//	herd     all tokens have one expiry, the app a limit
//	outage   the provider answers 503 for --outage
//	restart  the worker is killed, and started again after --down
//	neighbours  healthy connections beside --sick ones of the same app, on the real clock
//	simulate the schedule alone, of a million connections on a virtual clock; it has
//	         flags of its own
//	scale    what fleets of up to ten million connections need, from measured costs
//
// CPU is that of all processes but the provider's and the driver's (the driver's
// counts in start, where it is the importer). Progress and a table go to stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/perennial-oauth/perennial/test/bench/scale"
	"github.com/perennial-oauth/perennial/test/bench/sim"
)

// processes are the processes as which bench starts itself again.
var processes = map[string]func(ctx context.Context, args []string) error{
	providerCommand: serveProvider,
	naiveCommand:    runNaive,
	pollerCommand:   runPoller,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) > 0 {
		if process, ok := processes[args[0]]; ok {
			return process(ctx, args[1:])
		}
	}
	if len(args) > 0 && args[0] == "simulate" {
		return sim.Command(args[1:], out)
	}
	if len(args) > 0 && args[0] == "scale" {
		return scale.Command(args[1:], out)
	}
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	r, err := measureAll(ctx, o, progress)
	if err != nil {
		return err
	}
	r.table(progress)
	if o.json {
		return r.write(out)
	}
	return nil
}

// measureAll runs every case of the scenario in turn, as often as asked.
func measureAll(ctx context.Context, o options, progress io.Writer) (*report, error) {
	dir, err := os.MkdirTemp("", "perennial-bench-")
	if err != nil {
		return nil, err
	}
	if o.keep {
		fmt.Fprintln(progress, "logs are kept in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	binary, err := buildWorker(ctx, dir, o, progress)
	if err != nil {
		return nil, err
	}
	r := newReport(o)
	for i := range o.runs {
		for _, c := range o.cases() {
			fmt.Fprintf(progress, "run %d of %d: %s %s\n", i+1, o.runs, o.scenario, c.name)
			f, err := measure(ctx, o, c, dir, binary, progress)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", o.scenario, c.name, err)
			}
			r.add(i, c.name, f)
			fmt.Fprintln(progress, " ", f)
		}
	}
	return r, nil
}

// measure creates a new world for one case and returns its figures.
func measure(ctx context.Context, o options, c benchCase, dir, binary string, progress io.Writer) (figures, error) {
	dir, err := os.MkdirTemp(dir, c.variant+"-")
	if err != nil {
		return nil, err
	}
	w := &world{options: o, variant: variants[c.variant](), dir: dir, binary: binary, progress: progress}
	if c.connections > 0 {
		w.connections = c.connections
		w.interval = c.interval
	}
	w.life = lifeFor(w.interval)
	defer w.stop()
	if err := w.start(ctx); err != nil {
		return nil, err
	}
	return scenarios[o.scenario].play(ctx, w)
}
