package wiring

import (
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/prometheus/client_golang/prometheus"
)

// ClientMetrics registers the metrics of Go clients with r and returns the observer that
// counts, for [client.Config]. One serves the clients of all tenants. It is safe for
// concurrent use.
func ClientMetrics(r prometheus.Registerer) client.Observer { return metrics.NewClient(r) }
