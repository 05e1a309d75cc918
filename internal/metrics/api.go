package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// API implements api.Observer. It is safe for concurrent use. No label is a tenant, a
// key or a path.
type API struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

// NewAPI registers the API's metrics with r.
func NewAPI(r prometheus.Registerer) *API {
	m := &API{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "perennial", Subsystem: "api", Name: "requests_total",
			Help: "Requests of the HTTP API, by operation, HTTP status and the problem's code; an operation of none is a path that is not there."}, []string{"operation", "status", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "perennial", Subsystem: "api", Name: "request_seconds",
			Help: "How long requests took.", Buckets: []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 15, 30}}, []string{"operation"}),
	}
	r.MustRegister(m.requests, m.took)
	return m
}

// Request implements api.Observer.
func (m *API) Request(operation string, status int, code string, took time.Duration) {
	if operation == "" {
		operation = "none"
	}
	m.requests.WithLabelValues(operation, strconv.Itoa(status), code).Inc()
	m.took.WithLabelValues(operation).Observe(took.Seconds())
}
