package api_test

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/require"
)

// BenchmarkToken is GET .../token over a socket, with its client in the same
// process, from PostgreSQL.
func BenchmarkToken(b *testing.B) {
	w := apitest.New(b, testpg.URL(b), func(c *api.Config) { c.Log, c.Observer = nil, nil })
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	target := w.URL() + "/v1/connections/" + w.Connect("acme").ID + "/token"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	get := func() {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, target, nil)
		require.NoError(b, err)
		r.Header.Set("Authorization", "Bearer "+key)
		answer, err := client.Do(r)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(b, err)
		_ = answer.Body.Close()
		require.Equal(b, 200, answer.StatusCode)
	}
	get()
	b.Run("in a row", func(b *testing.B) {
		b.ReportAllocs()
		var took []time.Duration
		for b.Loop() {
			began := time.Now()
			get()
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
	})
	b.Run("at once", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				get()
			}
		})
	})
}
