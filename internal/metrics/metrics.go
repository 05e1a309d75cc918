// Package metrics counts what the refresh engine does, and shows the fleet's incidents,
// for Prometheus. No label is a connection or a tenant, and nothing here can hold a
// token.
package metrics

import (
	"context"
	"regexp"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/version"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics implements [refresh.Observer]. It is safe for concurrent use.
type Metrics struct {
	attempts     *prometheus.CounterVec
	reported     *prometheus.CounterVec
	throttled    *prometheus.CounterVec
	lifeLeft     *prometheus.HistogramVec
	rotationLost *prometheus.CounterVec
	terminal     *prometheus.CounterVec
	unsaved      prometheus.Counter
	keptRefused  prometheus.Counter
	rolledBack   prometheus.Counter
	fallback     prometheus.Gauge
	rowMissing   prometheus.Counter
	neglected    prometheus.Gauge
	lateness     prometheus.Gauge
	answer       *prometheus.GaugeVec
}

// New registers the engine's metrics with r.
func New(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "perennial", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		attempts:  counter("attempts_total", "Presentations of refresh tokens, by what they came to.", "app", "outcome"),
		reported:  counter("reported_refusals_total", "Presentations of refresh tokens because a product reported that the provider refuses the connection's token, by its reason and by what they came to.", "app", "why", "outcome"),
		throttled: counter("held_total", "Attempts that a circuit, a limit, a slow-down or the floor of forced refreshes (code too_soon) held back.", "app", "code"),
		lifeLeft: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "perennial", Name: "life_left_seconds",
			Help: "Life of the access token when its refresh began; below 0 it had expired.", Buckets: []float64{0, 30, 60, 120, 300, 600, 1800}}, []string{"app"}),
		rotationLost: counter("rotation_lost_total", "Connections lost because a rotated token never reached us: our loss, not the customer's doing.", "app"),
		terminal:     counter("reconnect_required_total", "Connections that moved to reconnect_required by a refresh, with the reason.", "app", "reason"),
		unsaved:      prometheus.NewCounter(prometheus.CounterOpts{Namespace: "perennial", Name: "unsaved_total", Help: "Token sets that the store did not take in time; spool and workflow keep them, sealed."}),
		keptRefused:  prometheus.NewCounter(prometheus.CounterOpts{Namespace: "perennial", Name: "unsaved_refused_total", Help: "Kept token sets that were not stored when tried: no row, keys that do not open them, or no set of ours. Each is in the log."}),
		rolledBack:   prometheus.NewCounter(prometheus.CounterOpts{Namespace: "perennial", Name: "store_rolled_back_total", Help: "Rows found behind the generation that was given out: the database went backwards."}),
		fallback:     prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "perennial", Name: "beside_temporal", Help: "1 while this process refreshes neglected connections beside Temporal, or Temporal does not answer."}),
		neglected:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "perennial", Name: "neglected_connections", Help: "Connections that are late and were passed over, at this worker's last look."}),
		lateness:     prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "perennial", Name: "neglected_seconds", Help: "How long the first of them has been due; 0: there is none."}),
		answer:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "perennial", Name: "temporal_answer", Help: "1 for what Temporal answered at this worker's last look: OK, the code of its refusal, or no answer."}, []string{"code"}),
	}
	m.rowMissing = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "perennial", Name: "rows_missing_total", Help: "Looks for a connection's row that is not in the database although nobody ended the connection. Its workflow goes on looking."})
	r.MustRegister(m.rowMissing, m.attempts, m.reported, m.throttled, m.lifeLeft, m.rotationLost, m.terminal, m.unsaved, m.keptRefused, m.rolledBack, m.fallback, m.neglected, m.lateness, m.answer)
	return m
}

// Observe implements [refresh.Observer].
func (m *Metrics) Observe(o refresh.Observation) {
	res := o.Result
	switch {
	case o.RolledBack:
		m.rolledBack.Inc()
	case o.UnsavedRefused:
		m.keptRefused.Inc()
	case res.Outcome == perennial.OutcomeThrottled && !o.Presented:
		m.throttled.WithLabelValues(o.App, res.Code).Inc()
	}
	if !o.Presented {
		return
	}
	m.attempts.WithLabelValues(o.App, string(res.Outcome)).Inc()
	if o.Trigger.Reported() {
		m.reported.WithLabelValues(o.App, string(o.Trigger), string(res.Outcome)).Inc()
	}
	m.lifeLeft.WithLabelValues(o.App).Observe(o.LifeLeft.Seconds())
	if res.Unsaved != nil {
		m.unsaved.Inc()
	}
	if o.Terminal != "" {
		m.terminal.WithLabelValues(o.App, string(o.Terminal)).Inc()
	}
	if o.Terminal == perennial.ReasonRotationLost {
		m.rotationLost.WithLabelValues(o.App).Inc()
	}
}

// RowMissing counts a look for a row that is missing although nobody ended its
// connection.
func (m *Metrics) RowMissing() { m.rowMissing.Inc() }

// Fallback records whether this process refreshes without Temporal.
func (m *Metrics) Fallback(on bool) {
	m.fallback.Set(0)
	if on {
		m.fallback.Set(1)
	}
}

// Neglected records the result of a look at the rows, and Temporal's answer. since is
// the first due time that was missed.
func (m *Metrics) Neglected(connections int, since time.Time, answer string) {
	m.neglected.Set(float64(connections))
	m.lateness.Set(0)
	if connections > 0 {
		m.lateness.Set(max(time.Since(since).Seconds(), 0))
	}
	m.answer.Reset()
	m.answer.WithLabelValues(answer).Set(1)
}

// RegisterProcess registers the metrics of the process itself: CPU, memory, file
// descriptors, the Go heap that survived the last collection, and the build.
func RegisterProcess(r prometheus.Registerer) {
	build := version.Get()
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "perennial", Name: "build_info", Help: "1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit, "commit_time": build.CommitTime, "go": build.Go}}, func() float64 { return 1 }))
	live := collectors.GoRuntimeMetricsRule{Matcher: regexp.MustCompile(`^/gc/heap/live:bytes$`)}
	r.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(live)))
}

// Incidents reads the fleet's incidents; store.Store in production.
type Incidents interface {
	Incidents(ctx context.Context) ([]store.Incident, error)
}

// Spool counts the unsaved token sets; spool.Spool in production.
type Spool interface {
	Count() (sets, corrupt int, err error)
}

// fleet collects at each scrape.
type fleet struct {
	rows  Incidents
	spool Spool

	trouble, spooled, corrupt *prometheus.Desc
}

// RegisterFleet registers gauges that are read at each scrape: open circuits and raised
// refusal holds, from two small tables, and the sets in the spool. spool may be nil.
func RegisterFleet(r prometheus.Registerer, rows Incidents, spool Spool) {
	r.MustRegister(&fleet{rows: rows, spool: spool,
		trouble: prometheus.NewDesc("perennial_trouble", "1 for each open circuit (kind circuit; while it releases the waiting connections, kind release) raised hold_terminal (kind hold) app that an operator stopped (kind stop) and app whose provider's metadata have changed (kind metadata).", []string{"app", "host", "kind", "code"}, nil),
		spooled: prometheus.NewDesc("perennial_spool_sets", "Sealed token sets in the spool that wait for the store.", nil, nil),
		corrupt: prometheus.NewDesc("perennial_spool_corrupt", "Files in the spool that were set aside: those that cannot be read, whose connections are not refreshed, and sets that can never be stored.", nil, nil),
	})
}

// Describe implements [prometheus.Collector].
func (f *fleet) Describe(out chan<- *prometheus.Desc) {
	out <- f.trouble
	out <- f.spooled
	out <- f.corrupt
}

// scrapeTimeout bounds the reading of the tables.
const scrapeTimeout = 3 * time.Second

// Collect implements [prometheus.Collector]. It leaves out what it cannot read.
func (f *fleet) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	troubles, err := f.rows.Incidents(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(f.trouble, err)
	}
	for _, t := range troubles {
		out <- prometheus.MustNewConstMetric(f.trouble, prometheus.GaugeValue, 1, t.App, t.Host, t.Kind, t.Code)
	}
	if f.spool == nil {
		return
	}
	if sets, corrupt, err := f.spool.Count(); err == nil {
		out <- prometheus.MustNewConstMetric(f.spooled, prometheus.GaugeValue, float64(sets))
		out <- prometheus.MustNewConstMetric(f.corrupt, prometheus.GaugeValue, float64(corrupt))
	}
}
