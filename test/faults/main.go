// Command faults proves that no rotated token is lost and that no customer is told to
// reconnect without cause. It runs real workers, PostgreSQL and Temporal, breaks them
// at every seam of a refresh in an order that a seed draws, and compares the result
// with the fake provider's own books. It mounts small file systems and fills them, so
// it must run as root.
//
// Exit code 1 means that something that must hold did not.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sort"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/seam"
)

var faults = []fault{
	{"sigkill", kill, true},
	{"sigstop", stopped, true},
	{"pg_reset", reset, true},
	{"answer_lost", answersLost, true},
	{"disk_full", ledgerFull, true},
	{"spool_full", spoolFull, true},
	{"journal", journal, true},
	{"spool_outlives", spoolOutlives, true},
	{"pg_stop", databaseStops, true},
	{"temporal_killed", temporalKilled, true},
	{"temporal_cut", temporalCut, true},
	{"both_down", bothDown, true},
	{"reconnect", races("reconnect", reconnects, nothing), true},
	{"pause", races("pause", pauses, resumes), true},
	{"disconnect", races("disconnect", disconnects, connects), true},

	{"terminated_in_exchange", terminatedInExchange, true},

	{"drop_before_work", onSome(0, func(k *fakeprovider.Knobs) { k.DropBefore = 1 }), false},
	{"drop_after_rotation", onSome(1, func(k *fakeprovider.Knobs) { k.DropAfter = 1 }), false},
	{"proxy_502", onSome(1, func(k *fakeprovider.Knobs) { k.BadGateway = 1 }), false},
	{"truncated_429_refused", onSome(2, func(k *fakeprovider.Knobs) { k.Truncate, k.RateLimited, k.SayRevoked = 1, 1, 1 }), false},
	{"refused_once", onSome(0, func(k *fakeprovider.Knobs) { k.SayRevoked = 1 }), false},
	{"html", onSome(0, func(k *fakeprovider.Knobs) { k.HTML = 2 }), false},
	{"silence_30s", silence, false},
	{"storm_429", storm(4*time.Second, func(k *fakeprovider.Knobs) { k.RateLimited, k.RetryAfter = always, "2" }, func(k *fakeprovider.Knobs) { k.RateLimited = 0 }), false},
	{"outage_5xx", storm(8*time.Second, func(k *fakeprovider.Knobs) { k.ServerError = always }, func(k *fakeprovider.Knobs) { k.ServerError = 0 }), false},
	{"clocks_off", clocks, false},

	{"wrong_secret", wrongSecret, false},
	{"wrong_environment", wrongEnvironment, false},
	{"false_refusals", falseRefusals, false},
	{"mass_revocation", massRevocation, false},
	{"host_deleted", hostDeleted, false},
	{"herd", herd, false},
	{"junk_imports", junkImports, false},
	{"hostile_messages", hostileMessages, false},
	{"attribute_removed", attributeRemoved, false},
	{"workflows_broken", workflowsBroken, false},
	{"temporal_denied", temporalDenied, false},
	{"foreign_worker", foreignWorker, false},
	{"cloned_database", clonedDatabase, false},
	{"old_and_new", oldAndNew, false},
	{restoreName, restored, false},
}

// summary is what --json prints.
type summary struct {
	Seed             uint64                    `json:"seed"`
	Pace             string                    `json:"pace"`
	Rounds           int                       `json:"rounds"`
	Connections      int                       `json:"connections"`
	Off              []string                  `json:"off,omitempty"` // protections
	Faults           int                       `json:"faults"`
	Refreshes        int                       `json:"refreshes"`
	Lost             int                       `json:"lost"`            // excused losses: the reply never arrived, or its process died
	LostByRestore    int                       `json:"lost_by_restore"` // their rows went back past a rotation
	BrokenInvariants []string                  `json:"broken_invariants"`
	Timelines        map[string][]string       `json:"timelines,omitempty"` // of the first broken connections
	EmptyCells       []string                  `json:"empty_cells,omitempty"`
	Matrix           map[string]map[string]int `json:"matrix"`
	Others           map[string]int            `json:"others"`
	SearchedBytes    int                       `json:"searched_bytes"`
	Samples          int                       `json:"samples"`
	Late             latenesses                `json:"late"`
	Seconds          float64                   `json:"seconds"`
}

// latenesses sums up how long after their due time refreshes were done that nothing was
// in the way of, in seconds.
type latenesses struct {
	Refreshes int     `json:"refreshes"`
	Median    float64 `json:"median"`
	P99       float64 `json:"p99"`
	Max       float64 `json:"max"`
	// Latest has the last five, the latest at the end.
	Latest []string `json:"latest"`
}

func sumUp(late []lateness) (out latenesses) {
	if len(late) == 0 {
		return out
	}
	late = slices.SortedFunc(slices.Values(late), func(a, b lateness) int { return cmp.Compare(a.by, b.by) })
	at := func(share float64) float64 { return late[int(share*float64(len(late)-1))].by.Seconds() }
	out = latenesses{Refreshes: len(late), Median: at(0.5), P99: at(0.99), Max: at(1)}
	for _, l := range late[max(len(late)-5, 0):] {
		out.Latest = append(out.Latest, l.String())
	}
	return out
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broken, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || broken {
		os.Exit(1)
	}
}

// options holds the flags.
type options struct {
	seed                   uint64
	rounds, connections    int
	herd                   int
	only, off, stops, pace string
	asJSON, keep, weaken   bool
}

func run(ctx context.Context, args []string, out, log io.Writer) (broken bool, err error) {
	var o options
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	flags.Uint64Var(&o.seed, "seed", 1, "draws the order of the faults and whom they meet")
	flags.IntVar(&o.rounds, "rounds", 1, "how often all faults are made")
	flags.IntVar(&o.connections, "connections", 200, "connections of the five replay classes; a few more are in apps for special purposes")
	flags.StringVar(&o.only, "only", "", "only these faults, separated by commas; empty cells of others are then no fault")
	flags.StringVar(&o.off, "off", "", "protections to switch off, separated by commas: a run that then breaks nothing shows nothing")
	flags.BoolVar(&o.weaken, "weaken", false, "run once for each protection, without it and with the faults that need it only; each run must break something")
	flags.StringVar(&o.stops, "pg-stop", "", "how long PostgreSQL is stopped, separated by commas; the seed draws from 1s, 30s and 120s where this is empty")
	flags.IntVar(&o.herd, "herd", 60, "connections of the app with a limit of requests")
	flags.StringVar(&o.pace, "pace", "own", "own or pooled: how every app is refreshed")
	flags.BoolVar(&o.asJSON, "json", false, "print the summary as JSON")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with logs and the provider's books")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if o.weaken {
		return weaken(ctx, o, out, log)
	}
	sum, err := play(ctx, o, log)
	if err != nil && sum.Connections == 0 { // it did not begin
		return false, err
	}
	if o.asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(sum))
	} else {
		print(out, sum)
	}
	return len(sum.BrokenInvariants)+len(sum.EmptyCells) > 0, err
}

// play makes the faults and sums up the broken invariants.
func play(ctx context.Context, o options, log io.Writer) (sum summary, err error) {
	sum = summary{Seed: o.seed, Pace: o.pace, Rounds: o.rounds, Matrix: map[string]map[string]int{}, Others: map[string]int{}, BrokenInvariants: []string{}}
	if sum.Off, err = protections(o.off); err != nil {
		return sum, err
	}
	var chosen []string
	if o.only != "" {
		chosen = strings.Split(o.only, ",")
	}
	for i := range apps {
		if apps[i].name == "limited" {
			apps[i].size = o.herd
		}
	}
	began := time.Now()
	dir, err := os.MkdirTemp("", "perennial-faults-")
	if err != nil {
		return sum, err
	}
	if o.keep {
		fmt.Fprintln(log, "logs are kept in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	s, err := start(ctx, dir, o.off, o.pace, log)
	if err != nil {
		return sum, err
	}
	defer s.stop()
	f, err := populate(s, o.connections)
	if err != nil {
		return sum, err
	}
	sum.Connections = len(f.all)
	r := &round{ctx: ctx, fleet: f, watch: f.watch(), r: rand.New(rand.NewPCG(o.seed, 0)), log: log, only: chosen, began: time.Now(),
		matrix: map[string]map[seam.Seam]int{}, done: map[string]int{}, timelines: map[string][]string{}}
	for range o.rounds {
		if r.pgStop, err = durations(o.stops, r.r); err != nil {
			break
		}
		if err = r.play(faults); err != nil {
			break
		}
	}
	r.watch.stop()
	if o.keep {
		err = errors.Join(err, r.keepBooks())
	}
	r.into(&sum)
	sum.Seconds = time.Since(began).Seconds()
	return sum, err
}

// protections returns the protections that text names.
func protections(text string) (of []string, err error) {
	if text == "" {
		return nil, nil
	}
	of = strings.Split(text, ",")
	for _, p := range of {
		if !slices.Contains(seam.Protections, seam.Protection(p)) {
			return nil, fmt.Errorf("there is no protection %q; there are: %v", p, seam.Protections)
		}
	}
	return of, nil
}

func durations(text string, r *rand.Rand) ([]time.Duration, error) {
	if text == "" {
		return []time.Duration{[]time.Duration{time.Second, 30 * time.Second, 120 * time.Second}[r.IntN(3)]}, nil
	}
	var out []time.Duration
	for _, one := range strings.Split(text, ",") {
		d, err := time.ParseDuration(one)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// oneSeam has the faults that concern one seam.
var oneSeam = map[string]seam.Seam{"journal": seam.AfterReply, "spool_outlives": seam.AfterReply, "terminated_in_exchange": seam.AfterWrite}

// into fills the summary.
func (r *round) into(sum *summary) {
	for name, hits := range r.matrix {
		sum.Matrix[name] = map[string]int{}
		for s, n := range hits {
			sum.Matrix[name][string(s)] = n
			sum.Faults += n
		}
		seams := seam.Seams
		if of, ok := oneSeam[name]; ok {
			seams = []seam.Seam{of}
		}
		for _, s := range seams {
			if hits[s] == 0 {
				sum.EmptyCells = append(sum.EmptyCells, name+" "+string(s))
			}
		}
	}
	for name, n := range r.done {
		sum.Others[name] = n
		sum.Faults += n
	}
	sum.Late = sumUp(r.late)
	if enough := len(r.all) / 2; len(r.only) == 0 && sum.Late.Refreshes < enough {
		r.broke("the lateness of %d refreshes was measured: fewer than %d say nothing", sum.Late.Refreshes, enough)
	} else if len(r.only) == 0 && sum.Late.P99 > usuallyLate.Seconds() {
		r.broke("1 refresh in 100 was more than %.1f s late, and nothing was in the way", sum.Late.P99)
	}
	sum.BrokenInvariants = sortedKeys(r.broken)
	r.tell()
	sum.Timelines = r.timelines
	sort.Strings(sum.EmptyCells)
	sum.Lost, sum.LostByRestore, sum.Refreshes, sum.SearchedBytes, sum.Samples = r.lost, r.lostByRestore, r.refreshes, r.searched, r.samples
}

func print(out io.Writer, sum summary) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "FAULT")
	for _, s := range seam.Seams {
		fmt.Fprint(table, "\t", s)
	}
	fmt.Fprintln(table)
	for _, name := range sortedKeys(sum.Matrix) {
		fmt.Fprint(table, name)
		for _, s := range seam.Seams {
			fmt.Fprint(table, "\t", sum.Matrix[name][string(s)])
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
	for _, name := range sortedKeys(sum.Others) {
		fmt.Fprintf(out, "%s: %d\n", name, sum.Others[name])
	}
	fmt.Fprintf(out, "seed %d: %d rounds, %d connections, %d faults, %d refreshes, %d lost by nobody's fault, %d by the restore, %d broken invariants, %d empty cells, %.0f s\n",
		sum.Seed, sum.Rounds, sum.Connections, sum.Faults, sum.Refreshes, sum.Lost, sum.LostByRestore, len(sum.BrokenInvariants), len(sum.EmptyCells), sum.Seconds)
	fmt.Fprintf(out, "%d refreshes that nothing was in the way of were late by %.1f s (median), %.1f s (p99), %.1f s (longest)\n",
		sum.Late.Refreshes, sum.Late.Median, sum.Late.P99, sum.Late.Max)
	for _, account := range sortedKeys(sum.Timelines) {
		fmt.Fprintf(out, "  %s:\n    %s\n", account, strings.Join(sum.Timelines[account], "\n    "))
	}
	for _, what := range append(sum.BrokenInvariants, sum.EmptyCells...) { // last: a log may be cut at its beginning
		fmt.Fprintln(out, "  BROKEN", what)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
