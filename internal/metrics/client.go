package metrics

import (
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/client"
	"github.com/prometheus/client_golang/prometheus"
)

// Client implements [client.Observer]. It is safe for concurrent use, by the
// clients of all tenants.
//
// The share of calls under 120 s is
//
//	rate(perennial_client_life_left_seconds_bucket{le="120"}) / rate(perennial_client_life_left_seconds_count)
//
// and the share that memory answered, calls_total with source "memory" over all.
type Client struct {
	apps sync.Map // app to *appClient, so that an answer from memory looks up no labels

	calls     *prometheus.CounterVec
	lifeLeft  *prometheus.HistogramVec
	waited    *prometheus.HistogramVec
	queued    *prometheus.HistogramVec
	refused   *prometheus.CounterVec
	refreshed *prometheus.CounterVec
	second    *prometheus.CounterVec
	offset    prometheus.Gauge
}

// appClient has the metrics of one app that every call changes.
type appClient struct {
	fromMemory prometheus.Counter
	lifeLeft   prometheus.Observer
}

// NewClient registers the client's metrics with r.
func NewClient(r prometheus.Registerer) *Client {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "perennial", Subsystem: "client", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "perennial", Subsystem: "client", Name: name, Help: help, Buckets: buckets}, []string{"app"})
	}
	m := &Client{
		calls:     counter("calls_total", "Calls for an access token, by where it came from (memory: a cache hit) and the error's code.", "app", "source", "code"),
		lifeLeft:  histogram("life_left_seconds", "Life that the access token had left as the call went ahead; below 0 there was no valid one.", 0, 30, 60, 120, 300, 600, 1800),
		waited:    histogram("wait_seconds", "How long calls waited that memory did not answer.", 0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30),
		queued:    histogram("queue_seconds", "How long work had been enqueued when it asked for its token, where it said so.", 1, 10, 60, 300, 900, 1800, 3600, 21600),
		refused:   counter("unauthorized_total", "Answers of 401 to a first request, by what they mean.", "app", "means"),
		refreshed: counter("refreshes_by_401_total", "Refreshes that a 401 caused: the token should have been good.", "app"),
		second:    counter("second_401_total", "Answers of 401 to a fresh token too: a fault of mapping, storage or permission.", "app"),
		offset:    prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "perennial", Subsystem: "client", Name: "clock_offset_seconds", Help: "By how much this machine's clock is behind the database's."}),
	}
	r.MustRegister(m.calls, m.lifeLeft, m.waited, m.queued, m.refused, m.refreshed, m.second, m.offset)
	return m
}

func (m *Client) app(name string) *appClient {
	if known, ok := m.apps.Load(name); ok {
		return known.(*appClient)
	}
	known, _ := m.apps.LoadOrStore(name, &appClient{
		fromMemory: m.calls.WithLabelValues(name, string(client.SourceMemory), ""), lifeLeft: m.lifeLeft.WithLabelValues(name)})
	return known.(*appClient)
}

// Call implements [client.Observer].
func (m *Client) Call(c client.Call) {
	if c.Dated {
		m.app(c.App).lifeLeft.Observe(c.Left.Seconds())
	}
	if c.Queued > 0 {
		m.queued.WithLabelValues(c.App).Observe(c.Queued.Seconds())
	}
	if c.Source == client.SourceMemory {
		m.app(c.App).fromMemory.Inc()
		return
	}
	m.calls.WithLabelValues(c.App, string(c.Source), string(c.Code)).Inc()
	m.waited.WithLabelValues(c.App).Observe(c.Waited.Seconds())
}

// Refused implements [client.Observer].
func (m *Client) Refused(r client.Refused) {
	if r.Second {
		m.second.WithLabelValues(r.App).Inc()
		return
	}
	m.refused.WithLabelValues(r.App, string(r.Means)).Inc()
	if r.Refreshed {
		m.refreshed.WithLabelValues(r.App).Inc()
	}
}

// Clock implements [client.Observer].
func (m *Client) Clock(offset time.Duration) { m.offset.Set(offset.Seconds()) }
