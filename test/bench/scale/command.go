package scale

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

// sizes are the fleets to compute, in connections.
var sizes = []int{10_000, 100_000, 1_000_000, 10_000_000}

// report is the part of the bench's JSON that scale reads.
type report struct {
	Variants map[string]map[string]float64 `json:"variants"`
}

// Command is the bench's scenario scale. It reads the JSON of a scenario that measured
// own and pooled, and writes tables in Markdown to out. With --plot it also writes a
// picture.
func Command(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	from := flags.String("from", "", "JSON that `go run ./test/bench warm --json` printed, with the variants own and pooled")
	pooled := flags.String("pooled-from", "", "the same for pooled, where it was measured at a higher rate; empty: --from")
	plot := flags.String("plot", "", "SVG file to write")
	unused := flags.Float64("unused", 0.5, "share of connections that nobody uses, for cadence on_use")
	retention := flags.Duration("retention", 7*24*time.Hour, "of the ledger")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *pooled == "" {
		*pooled = *from
	}
	u, err := units(*from, *pooled)
	if err != nil {
		return err
	}
	if err := u.table(out, *unused, *retention); err != nil || *plot == "" {
		return err
	}
	f, err := os.Create(*plot)
	if err != nil {
		return err
	}
	defer f.Close()
	return u.plot(f)
}

func units(from, pooledFrom string) (Units, error) {
	read := func(path, variant string) (map[string]float64, error) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the measured costs (--from): %w", err)
		}
		var r report
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("read the measured costs in %s: %w", path, err)
		}
		figures, ok := r.Variants[variant]
		if !ok {
			return nil, fmt.Errorf("%s has no variant %s", path, variant)
		}
		return figures, nil
	}
	own, err := read(from, "own")
	if err != nil {
		return Units{}, err
	}
	pooled, err := read(pooledFrom, "pooled")
	if err != nil {
		return Units{}, err
	}
	temporal := func(f map[string]float64) float64 { return f["cpu_ms_temporal"] + f["cpu_ms_temporal_postgres"] }
	return Units{OwnCPU: own["cpu_ms_per_refresh"], OwnTemporal: temporal(own), OwnActions: own["actions_per_refresh"],
		PooledCPU: pooled["cpu_ms_per_refresh"], PooledTemporal: temporal(pooled),
		RowBytes: own["row_bytes"], LedgerBytes: own["ledger_bytes"]}, nil
}

func (u Units) table(out io.Writer, unused float64, retention time.Duration) error {
	fmt.Fprintf(out, "| connections | life | pace | cadence | refreshes/s | actions a month | list price a month | busy cores | of them Temporal | row writes/s | our database |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, n := range sizes {
		for _, life := range []time.Duration{30 * time.Minute, time.Hour} {
			for _, pooled := range []bool{false, true} {
				for _, share := range []float64{0, unused} {
					f := Fleet{Connections: n, Life: life, Pooled: pooled, Unused: share, Ledger: retention}
					if _, err := fmt.Fprintln(out, row(f, u.Of(f))); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func row(f Fleet, n Needs) string {
	pace, cadence, contact := "own", "always", ""
	if f.Pooled {
		pace = fmt.Sprintf("pooled (%d)", n.Pacers)
	}
	if f.Unused > 0 {
		cadence = "on_use"
	}
	if n.Contact {
		contact = "≤ "
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s$%s | %s | %s | %s | %s |", short(float64(f.Connections)), life(f.Life), pace, cadence,
		digits(n.PerSecond), short(n.Actions), contact, short(n.Price), digits(n.Cores), digits(n.TemporalCores), digits(n.RowWrites), size(n.Bytes))
}

func life(d time.Duration) string {
	if d%time.Hour == 0 {
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d min", d/time.Minute)
}

func short(x float64) string {
	switch {
	case x >= 1e9:
		return fmt.Sprintf("%.3g G", x/1e9)
	case x >= 1e6:
		return fmt.Sprintf("%.3g M", x/1e6)
	case x >= 1e4:
		return fmt.Sprintf("%.3g k", x/1e3)
	}
	return fmt.Sprintf("%.0f", x)
}

func size(x float64) string {
	switch {
	case x >= 1e12:
		return digits(x/1e12) + " TB"
	case x >= 1e9:
		return digits(x/1e9) + " GB"
	}
	return digits(x/1e6) + " MB"
}

// digits returns x with two digits, or as a whole number.
func digits(x float64) string {
	if x >= 10 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
