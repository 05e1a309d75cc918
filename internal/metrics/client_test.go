package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"
)

func TestClient(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	m := NewClient(r)
	for _, left := range []time.Duration{-time.Second, 0, time.Nanosecond, 30 * time.Second, 120 * time.Second, 121 * time.Second, time.Hour} {
		m.Call(client.Call{App: "app", Source: client.SourceMemory, Left: left, Dated: true})
	}
	m.Call(client.Call{App: "app", Source: client.SourceMemory}) // a life that nobody knows
	m.Call(client.Call{App: "app", Source: client.SourceRefresh, Left: time.Hour, Dated: true, Waited: time.Second, Queued: 45 * time.Minute})
	m.Call(client.Call{Source: client.SourceNone, Code: perennial.CodeNotFound})
	m.Refused(client.Refused{App: "app", Means: resource.UnauthorizedToken, Refreshed: true, Retried: true})
	m.Refused(client.Refused{App: "app", Means: resource.UnauthorizedToken, Stale: true, Retried: true})
	m.Refused(client.Refused{App: "app", Means: resource.UnauthorizedUnclear, Second: true})
	m.Clock(-31 * time.Second)
	reply := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(reply, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	lines := strings.Split(reply.Body.String(), "\n")
	for _, want := range []string{
		`calls_total{app="",code="not_found",source="none"} 1`,
		`calls_total{app="app",code="",source="memory"} 8`,
		`calls_total{app="app",code="",source="refresh"} 1`,
		`clock_offset_seconds -31`,
		`life_left_seconds_bucket{app="app",le="0"} 2`,
		`life_left_seconds_bucket{app="app",le="30"} 4`,
		`life_left_seconds_bucket{app="app",le="60"} 4`,
		`life_left_seconds_bucket{app="app",le="120"} 5`,
		`life_left_seconds_bucket{app="app",le="300"} 6`,
		`life_left_seconds_bucket{app="app",le="+Inf"} 8`,
		`life_left_seconds_count{app="app"} 8`,
		`refreshes_by_401_total{app="app"} 1`,
		`second_401_total{app="app"} 1`,
		`unauthorized_total{app="app",means="token"} 2`,
		`wait_seconds_count{app="app"} 1`,
		`queue_seconds_bucket{app="app",le="1800"} 0`,
		`queue_seconds_bucket{app="app",le="3600"} 1`,
	} {
		require.Contains(t, lines, "perennial_client_"+want)
	}
}

// BenchmarkCall is what a call that memory answers pays for being counted.
func BenchmarkCall(b *testing.B) {
	m := NewClient(prometheus.NewRegistry())
	call := client.Call{App: "app", Source: client.SourceMemory, Left: time.Hour, Dated: true}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Call(call)
		}
	})
}
