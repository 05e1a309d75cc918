package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// measures has the figures in the order of the table.
var measures = []struct{ name, means string }{
	{"connections", "size of the fleet"},
	{"interval_s", "mean seconds between two refreshes of a connection"},
	{"seconds", "measured"},
	{"refreshes", "successful, by the provider's books"},
	{"refreshes_per_s", ""},
	{"failed_requests", "token requests that brought no tokens"},
	{"cpu_ms_per_refresh", "CPU of all processes but the provider's and the driver's"},
	{"cpu_ms_worker", "of it, for each refresh"},
	{"cpu_ms_postgres", "our PostgreSQL"},
	{"cpu_ms_temporal", "the Temporal server"},
	{"cpu_ms_temporal_postgres", "its PostgreSQL"},
	{"cpu_ms_provider", "not in the sum"},
	{"cores", "busy on the average, without provider and driver"},
	{"idle_cores", "busy before there was a connection; it is part of the figures above"},
	{"driver_cores", "busy with the measuring itself"},
	{"lateness_ms_p50", "from the due time to the claim"},
	{"lateness_ms_p99", ""},
	{"lateness_ms_max", ""},
	{"actions_per_refresh", "billable, by the server's own metric"},
	{"events_per_refresh", "in the connections' histories"},
	{"history_bytes_per_refresh", ""},
	{"statements_per_refresh", "SQL, begin and commit included"},
	{"transactions_per_refresh", ""},
	{"row_bytes", "database bytes for each connection, indexes included"},
	{"ledger_bytes", "the same for each line of the ledger"},
	{"worker_rss_bytes", ""},
	{"worker_heap_bytes", "live after the last collection"},
	{"heap_bytes_per_cached", "growth of that since there was no connection, for each cached one"},
	{"stack_bytes_per_cached", "the same of its goroutines' stacks, after the last collection or grown since"},
	{"connections_per_s", "created"},
	{"cpu_ms_per_connection", "to create one, the driver's included, until all is quiet"},
	{"settled_s", "until all is quiet"},
	{"most_requests_per_s", "in any one second, by the provider's books"},
	{"expired", "access tokens that expired before they were replaced"},
	{"buffer_s", "from the latest due time to the expiry"},
	{"recovered_s", "until every connection is well"},
	{"recovered_99_s", "until 99 of 100 are"},
	{"unwell_at_start", "connections that were not well when it began"},
	{"unwell_left", "connections that were not well when patience ended"},
	{"sick", "connections whose token requests fail"},
	{"sick_called_rightly", "of them, by their failing code or the reason of their end"},
	{"healthy_refreshes", "of the others"},
	{"healthy_lateness_ms_p50", "of the others"},
	{"healthy_lateness_ms_p99", ""},
	{"healthy_lateness_ms_max", ""},
	{"healthy_unwell", "others that were not well at the end"},
	{"healthy_expired", "refreshes of the others after their token had expired"},
	{"circuits_opened", ""},
	{"holds_raised", ""},
	{"outage_requests_per_s", "token requests while the provider was away"},
	{"outage_cores", "busy meanwhile"},
}

// spreadOf is one figure over several runs.
type spreadOf struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// report is what --json prints.
type report struct {
	Scenario string    `json:"scenario"`
	Commit   string    `json:"commit"`
	Started  time.Time `json:"started"`
	CPU      struct {
		Model string `json:"model"`
		Cores int    `json:"cores"`
	} `json:"cpu"`
	Go       string             `json:"go"`
	Runs     int                `json:"runs"`
	Settings map[string]any     `json:"settings"`
	Variants map[string]figures `json:"variants"` // medians
	// Ratios compare two variants within a run: the figure of the first divided by that
	// of the second.
	Ratios  map[string]map[string]spreadOf `json:"ratios"`
	Samples map[string][]figures           `json:"samples"`

	order []string
}

func newReport(o options) *report {
	r := &report{Scenario: o.scenario, Commit: commit(), Started: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(), Runs: o.runs,
		Variants: map[string]figures{}, Ratios: map[string]map[string]spreadOf{}, Samples: map[string][]figures{},
		Settings: map[string]any{"connections": o.connections, "interval": o.interval.String(), "window": o.window.String(), "warmup": o.warmup.String(),
			"cache": o.cache, "age": o.age, "saturate": o.saturate, "latency": o.latency.String(), "limit": o.limit,
			"sizes": o.sizes, "outage": o.outage.String(), "sick": o.sick, "sickness": o.sickness, "down": o.down.String(), "fsync": o.fsync}}
	r.CPU.Model, r.CPU.Cores = processor(), runtime.NumCPU()
	return r
}

// commit returns that of the working tree, with a mark if the tree was changed.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// add adds a run's figures and computes the medians and ratios again.
func (r *report) add(run int, name string, f figures) {
	if run == 0 {
		r.order = append(r.order, name)
	}
	r.Samples[name] = append(r.Samples[name], f)
	r.Variants[name] = figures{}
	for figure, s := range overRuns(r.Samples[name]) {
		r.Variants[name][figure] = s.Median
	}
	for _, pair := range r.pairs() {
		var ratios []figures
		for i := range min(len(r.Samples[pair[0]]), len(r.Samples[pair[1]])) {
			one := figures{}
			for _, figure := range []string{"cpu_ms_per_refresh", "cpu_ms_per_connection", "refreshes_per_s", "connections_per_s", "recovered_s"} {
				one.ratio(figure, r.Samples[pair[0]][i][figure], r.Samples[pair[1]][i][figure])
			}
			ratios = append(ratios, one)
		}
		r.Ratios[pair[0]+"/"+pair[1]] = overRuns(ratios)
	}
}

// pairs returns what is compared: ours with the others, and for growth each size with
// the smallest.
func (r *report) pairs() (out [][2]string) {
	for i, a := range r.order {
		for _, b := range r.order[:i] {
			if r.Scenario != "growth" && (b == "naive" || b == "poller") && a != "poller" {
				out = append(out, [2]string{a, b})
			}
			family, _, _ := strings.Cut(a, "@")
			if r.Scenario == "growth" && strings.HasPrefix(b, family+"@") && b == r.smallest(family) {
				out = append(out, [2]string{a, b})
			}
		}
	}
	return out
}

func (r *report) smallest(family string) string {
	i := slices.IndexFunc(r.order, func(name string) bool { return strings.HasPrefix(name, family+"@") })
	return r.order[i]
}

func overRuns(runs []figures) map[string]spreadOf {
	values := map[string][]float64{}
	for _, f := range runs {
		for name, v := range f {
			values[name] = append(values[name], v)
		}
	}
	out := map[string]spreadOf{}
	for name, vs := range values {
		slices.Sort(vs)
		n := len(vs)
		out[name] = spreadOf{(vs[(n-1)/2] + vs[n/2]) / 2, vs[0], vs[n-1]}
	}
	return out
}

func (r *report) write(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// table prints the medians for people.
func (r *report) table(out io.Writer) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\n%s\t%s\t\n", strings.ToUpper(r.Scenario), strings.Join(r.order, "\t"))
	for _, m := range measures {
		line, any := m.name, false
		for _, name := range r.order {
			v, ok := r.Variants[name][m.name]
			any = any || ok
			line += "\t" + number(v, ok)
		}
		if any {
			fmt.Fprintln(t, line+"\t"+m.means)
		}
	}
	_ = t.Flush()
	for _, pair := range r.pairs() {
		for _, m := range measures {
			if s, ok := r.Ratios[pair[0]+"/"+pair[1]][m.name]; ok {
				fmt.Fprintf(out, "%s / %s  %s  %.3f (%.3f to %.3f)\n", pair[0], pair[1], m.name, s.Median, s.Min, s.Max)
			}
		}
	}
	fmt.Fprintf(out, "%s, %d cores, commit %s, %d runs\n", r.CPU.Model, r.CPU.Cores, r.Commit, r.Runs)
}

func number(v float64, ok bool) string {
	switch {
	case !ok:
		return "-"
	case v == float64(int64(v)) || v >= 1000:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
