package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the command line's options.
type options struct {
	scenario    string
	variants    []string
	runs        int
	connections int
	interval    time.Duration // mean time between two refreshes of a connection
	window      time.Duration
	warmup      time.Duration
	cache       int
	age         int
	saturate    bool
	latency     time.Duration
	sizes       []int
	limit       float64
	outage      time.Duration
	down        time.Duration
	sick        int
	sickness    string
	patience    time.Duration
	fsync       bool
	json, keep  bool
}

// scenario is one question, with the sizes that answer it.
type scenario struct {
	play     func(ctx context.Context, w *world) (figures, error)
	defaults options
}

// wholeRun, as an age, means as many refreshes as one workflow run of the variant has.
const wholeRun = -1

var scenarios map[string]scenario

func init() { // in a function, because the scenarios use the options
	all := []string{"naive", "poller", "own", "pooled"}
	scenarios = map[string]scenario{
		"warm": {steady, options{variants: all, connections: 400, interval: 20 * time.Second, window: time.Minute, age: 24}},
		"cold": {steady, options{variants: all, connections: 100, interval: 10 * time.Second, window: time.Minute, age: wholeRun, cache: 10}},
		// The interval is that of the smallest fleet.
		"growth":     {steady, options{variants: []string{"own", "pooled"}, sizes: []int{1000, 5000, 20000}, interval: 50 * time.Second, window: time.Minute, warmup: 20 * time.Second}},
		"start":      {startAll, options{variants: all, connections: 2000, interval: time.Hour}},
		"herd":       {herd, options{variants: []string{"poller", "own", "pooled"}, connections: 20000, interval: 20 * time.Minute, limit: 100}},
		"outage":     {outage, options{variants: all, connections: 5000, interval: 10 * time.Minute, outage: 10 * time.Minute}},
		"neighbours": {neighbours, options{variants: []string{"own", "pooled"}, connections: 1800, interval: 6 * time.Minute, window: 13 * time.Minute, sick: 30, sickness: "500"}},
		"restart":    {restart, options{variants: all, connections: 2000, interval: 100 * time.Second, down: 30 * time.Second}},
	}
}

// parse reads the command line.
func parse(args []string, usage io.Writer) (options, error) {
	var names []string
	for name := range scenarios {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(args) == 0 {
		return options{}, fmt.Errorf("say which scenario: %s", strings.Join(names, ", "))
	}
	s, ok := scenarios[args[0]]
	if !ok {
		return options{}, fmt.Errorf("there is no scenario %q; there are: %s", args[0], strings.Join(names, ", "))
	}
	o := s.defaults
	o.scenario = args[0]
	flags := flag.NewFlagSet("bench "+o.scenario, flag.ContinueOnError)
	flags.SetOutput(usage)
	listOf := strings.Join(o.variants, ",")
	sizes := strings.Trim(strings.ReplaceAll(fmt.Sprint(o.sizes), " ", ","), "[]")
	flags.StringVar(&listOf, "variants", listOf, "what to compare, in this order: naive, poller, own, pooled")
	flags.IntVar(&o.runs, "runs", 1, "how often each is measured; figures are then medians")
	flags.IntVar(&o.connections, "connections", o.connections, "size of the fleet")
	flags.DurationVar(&o.interval, "interval", o.interval, "mean time between two refreshes of a connection")
	flags.DurationVar(&o.window, "window", o.window, "how long is measured")
	flags.DurationVar(&o.warmup, "warmup", o.warmup, "what runs before it (default: one interval, at most a minute)")
	flags.IntVar(&o.cache, "cache", o.cache, "workflows that a worker keeps in memory; 0: the SDK's default, 10,000")
	flags.IntVar(&o.age, "age", o.age, "refreshes before the warm-up: each connection has had fewer than these, evenly spread, so that runs are of every length; -1: as many as the variant's workflow has in one run, which is also the most")
	flags.BoolVar(&o.saturate, "saturate", false, "every 5 s a refresh of each connection, more than can be done: the refreshes a second are the most there can be, as long as they are fewer than --connections / 5 (default 800)")
	flags.DurationVar(&o.latency, "latency", 0, "how long the provider takes to answer")
	flags.StringVar(&sizes, "sizes", sizes, "growth: sizes of the fleet; --interval is that of the first")
	flags.Float64Var(&o.limit, "limit", o.limit, "the app's limit, refreshes a second; 0: none")
	flags.DurationVar(&o.outage, "outage", o.outage, "outage: for how long the provider answers 503")
	flags.DurationVar(&o.down, "down", o.down, "restart: for how long no worker runs")
	flags.IntVar(&o.sick, "sick", o.sick, "neighbours: how many of the fleet are sick")
	flags.StringVar(&o.sickness, "sickness", o.sickness, "neighbours: "+sicknessNames())
	flags.DurationVar(&o.patience, "patience", 15*time.Minute, "how long the end of a herd, an outage or a restart is waited for")
	flags.BoolVar(&o.fsync, "fsync", false, "both PostgreSQL servers wait for their disk")
	flags.BoolVar(&o.json, "json", false, "print the figures as JSON")
	flags.BoolVar(&o.keep, "keep", false, "keep the folder with logs")
	if err := flags.Parse(args[1:]); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("what is %q?", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	o.variants = strings.Split(listOf, ",")
	for _, v := range o.variants {
		if variants[v] == nil {
			return o, fmt.Errorf("there is no variant %q", v)
		}
	}
	o.sizes = nil
	for _, text := range strings.FieldsFunc(sizes, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return o, fmt.Errorf("--sizes: %q is no size", text)
		}
		o.sizes = append(o.sizes, n)
	}
	if o.warmup == 0 {
		o.warmup = min(o.interval, time.Minute)
	}
	if o.saturate {
		// The interval must be longer than a workflow task waits in the task queue at
		// saturation. Otherwise a timer's time has passed before the timer is set, and
		// a cycle without a timer costs less.
		o.interval, o.age = 5*time.Second, 0
		if !given["connections"] {
			o.connections = 800
		}
	}
	if o.sick < 0 || o.sick > o.connections {
		return o, fmt.Errorf("--sick: %d of %d connections cannot be sick", o.sick, o.connections)
	}
	if o.connections < 0 || o.interval < time.Second || o.runs < 1 {
		return o, fmt.Errorf("--connections and --runs must be above 0, --interval at least 1s")
	}
	if o.age < wholeRun {
		return o, fmt.Errorf("--age must be 0 or more, or %d", wholeRun)
	}
	return o, nil
}

// benchCase is one measurement: a variant, and for growth also a size.
type benchCase struct {
	name, variant string
	connections   int // 0: as asked for
	interval      time.Duration
}

func (o options) cases() []benchCase {
	var out []benchCase
	for _, v := range o.variants {
		if o.scenario != "growth" {
			out = append(out, benchCase{name: v, variant: v})
			continue
		}
		for _, n := range o.sizes {
			each := o.interval * time.Duration(n) / time.Duration(o.sizes[0])
			out = append(out, benchCase{fmt.Sprintf("%s@%d", v, n), v, n, each})
		}
	}
	return out
}
