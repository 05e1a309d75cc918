package metrics

import (
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/prometheus/client_golang/prometheus"
)

// Notify implements [notify.Observer]. It is safe for concurrent use.
type Notify struct {
	tries *prometheus.CounterVec
	age   *prometheus.HistogramVec
}

// NewNotify registers the metrics of deliveries with r. No label is an endpoint,
// because a tenant may register many.
func NewNotify(r prometheus.Registerer) *Notify {
	m := &Notify{
		tries: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "perennial", Subsystem: "webhook", Name: "tries_total",
			Help: "Tries to deliver an event, by what the delivery is after it: delivered, pending (it comes again), dead (given up)."}, []string{"event", "state"}),
		age: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "perennial", Subsystem: "webhook", Name: "age_seconds",
			Help: "Age of the event when it was delivered.", Buckets: []float64{1, 2, 5, 15, 60, 300, 3600, 21600, 86400, 259200}}, []string{"event"}),
	}
	r.MustRegister(m.tries, m.age)
	return m
}

// Try implements [notify.Observer].
func (m *Notify) Try(t notify.Try) {
	m.tries.WithLabelValues(string(t.Event), string(t.State)).Inc()
	if t.State == perennial.DeliveryDelivered {
		m.age.WithLabelValues(string(t.Event)).Observe(t.Age.Seconds())
	}
}
