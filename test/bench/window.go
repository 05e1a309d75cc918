package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// reading is every counter at one moment.
type reading struct {
	at           time.Time
	cpu          map[string]time.Duration
	books        books
	actions      float64 // billable ones, of the default namespace
	statements   float64
	transactions float64
	histories    map[string]history
}

// begin reads the counters, CPU last.
func (w *world) begin(ctx context.Context) (r reading, err error) {
	if r.histories, err = w.sample(ctx, nil); err != nil {
		return r, err
	}
	if err := w.slowCounters(ctx, &r); err != nil {
		return r, err
	}
	return r, w.quickCounters(ctx, &r)
}

// end reads the same counters in the opposite order, CPU first.
func (w *world) end(ctx context.Context, before reading) (r reading, err error) {
	if err := w.quickCounters(ctx, &r); err != nil {
		return r, err
	}
	if err := w.slowCounters(ctx, &r); err != nil {
		return r, err
	}
	r.histories, err = w.sample(ctx, before.histories)
	return r, err
}

func (w *world) quickCounters(ctx context.Context, r *reading) (err error) {
	r.at = time.Now()
	if r.cpu, err = cpuOf(w.groups()); err != nil {
		return err
	}
	r.cpu["driver"] = driverCPU()
	r.books, err = w.provider.books(ctx, r.at)
	return err
}

func (w *world) slowCounters(ctx context.Context, r *reading) (err error) {
	if r.statements, err = w.count(ctx, "SELECT sum(calls) FROM pg_stat_statements"); err != nil {
		return err
	}
	if r.transactions, err = w.count(ctx, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"); err != nil {
		return err
	}
	if w.temporal == nil {
		return nil
	}
	r.actions, err = sumMetric(ctx, w.temporal.Metrics, "action", `namespace="default"`)
	return err
}

// figures are the results of a measurement. measures names and explains them.
type figures map[string]float64

// between returns the figures from one reading to the next.
func (w *world) between(ctx context.Context, from, to reading) (figures, error) {
	seconds := to.at.Sub(from.at).Seconds()
	refreshes := float64(to.books.Refreshes - from.books.Refreshes)
	f := figures{"connections": float64(w.connections), "seconds": seconds, "interval_s": meanInterval(w.life).Seconds(),
		"refreshes": refreshes, "refreshes_per_s": refreshes / seconds, "failed_requests": float64(to.books.Requests-from.books.Requests) - refreshes}
	var sum time.Duration
	for name, at := range to.cpu {
		spent := at - from.cpu[name]
		if name != "provider" && name != "driver" {
			sum += spent
		}
		if name == "driver" {
			f["driver_cores"] = spent.Seconds() / seconds
			continue
		}
		f.ratio("cpu_ms_"+name, float64(spent.Milliseconds()), refreshes)
	}
	f.ratio("cpu_ms_per_refresh", float64(sum.Milliseconds()), refreshes)
	f["cores"] = sum.Seconds() / seconds
	f.ratio("statements_per_refresh", to.statements-from.statements, refreshes)
	f.ratio("transactions_per_refresh", to.transactions-from.transactions, refreshes)
	if w.temporal != nil {
		f.ratio("actions_per_refresh", to.actions-from.actions, refreshes)
		grown(f, from.histories, to.histories)
	}
	late, err := w.variant.lateness(ctx, w, from.at)
	if err != nil {
		return f, err
	}
	f.quantiles("lateness_ms", late)
	return f, w.sizes(ctx, f)
}

// sizes measures what a connection takes on disk and in the worker.
func (w *world) sizes(ctx context.Context, f figures) error {
	bytes, err := w.count(ctx, "SELECT pg_total_relation_size($1::regclass)", w.variant.table())
	if err != nil {
		return err
	}
	f.ratio("row_bytes", bytes, float64(w.connections))
	if w.variant.table() == "connections" { // the engine also keeps a ledger
		if f["ledger_bytes"], err = w.count(ctx, "SELECT pg_total_relation_size('attempts') / greatest((SELECT count(*) FROM attempts), 1)"); err != nil {
			return err
		}
	}
	if f["worker_rss_bytes"], err = residentBytes(w.worker.pid()); err != nil {
		return err
	}
	now, err := w.memory(ctx)
	if err != nil {
		return err
	}
	cached := float64(min(w.connections, cmp.Or(w.cache, sdkCache)))
	f["worker_heap_bytes"] = now.heap
	f.ratio("heap_bytes_per_cached", max(now.heap-w.empty.heap, 0), cached)
	f.ratio("stack_bytes_per_cached", max(now.stacks-w.empty.stacks, 0), cached)
	return nil
}

// sdkCache is how many workflows a worker caches by default.
const sdkCache = 10000

// memory is the worker's, in bytes: the heap after its last garbage collection, and its
// stacks.
type memory struct{ heap, stacks float64 }

func (w *world) memory(ctx context.Context) (m memory, err error) {
	if m.heap, err = sumMetric(ctx, w.worker.url+"/metrics", "go_gc_heap_live_bytes", ""); err != nil {
		return m, err
	}
	m.stacks, err = sumMetric(ctx, w.worker.url+"/metrics", "go_memstats_stack_inuse_bytes", "")
	return m, err
}

// ratio records a/b if b is not 0.
func (f figures) ratio(name string, a, b float64) {
	if b != 0 {
		f[name] = a / b
	}
}

// quantiles records p50, p99 and the maximum of values.
func (f figures) quantiles(name string, values []float64) {
	if len(values) == 0 {
		return
	}
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(q*float64(len(values)-1)+0.5)] }
	f[name+"_p50"], f[name+"_p99"], f[name+"_max"] = at(0.5), at(0.99), at(1)
}

// String returns one line of progress.
func (f figures) String() string {
	var parts []string
	for _, p := range []struct{ name, format string }{
		{"connections_per_s", "%.0f connections a second"}, {"cpu_ms_per_connection", "%.2f ms CPU each"},
		{"refreshes", "%.0f refreshes"}, {"refreshes_per_s", "%.1f a second"}, {"cpu_ms_per_refresh", "%.2f ms CPU each"},
		{"lateness_ms_p99", "lateness p99 %.0f ms"}, {"recovered_s", "all well after %.1f s"}, {"expired", "%.0f expired"},
	} {
		if v, ok := f[p.name]; ok {
			parts = append(parts, fmt.Sprintf(p.format, v))
		}
	}
	return strings.Join(parts, ", ")
}
