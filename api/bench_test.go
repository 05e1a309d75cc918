package api_test

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
)

// BenchmarkToken measures GET .../token over a socket, from PostgreSQL, with the client
// in the same process.
func BenchmarkToken(b *testing.B) {
	w := apitest.New(b, testpg.URL(b), func(c *api.Config) { c.Log, c.Observer = nil, nil })
	_, key := w.Key("acme", perennial.ScopeTokensRead)
	target := w.URL() + "/v1/connections/" + w.Connect("acme").ID + "/token"
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	get := func() {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, target, nil)
		if !assert.NoError(b, err) {
			return
		}
		r.Header.Set("Authorization", "Bearer "+key)
		answer, err := client.Do(r)
		if !assert.NoError(b, err) {
			return
		}
		_, err = io.Copy(io.Discard, answer.Body)
		assert.NoError(b, err)
		_ = answer.Body.Close()
		assert.Equal(b, 200, answer.StatusCode)
	}
	p99 := func(b *testing.B, took []time.Duration) {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100])/1e6, "p99-ms")
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
		p99(b, took)
	})
	// Each request is sent at its own time, even if earlier ones have no answer yet.
	// Its duration is measured from that time.
	b.Run("1500 a second", func(b *testing.B) {
		const gap = time.Second / 1500
		took := make([]time.Duration, b.N)
		var all sync.WaitGroup
		began := time.Now()
		for i := range took {
			at := began.Add(time.Duration(i) * gap)
			time.Sleep(time.Until(at))
			all.Go(func() {
				get()
				took[i] = time.Since(at)
			})
		}
		all.Wait()
		p99(b, took)
		b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "requests/s")
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
