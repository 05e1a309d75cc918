package direct

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/internal/testpg"
)

// BenchmarkToken reads tokens of a thousand connections from PostgreSQL, like a process
// that has none of them in memory.
func BenchmarkToken(b *testing.B) {
	s := setup(b, testpg.URL(b))
	ids := []string{s.id}
	for range 999 {
		ids = append(ids, s.insert())
	}
	// Memory expires at once: every call reads.
	c, err := client.New(client.Config{Backend: unremembered{s.Backend}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	for _, id := range ids {
		if _, err := c.Token(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	var next atomic.Int64
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Token(b.Context(), ids[next.Add(1)%int64(len(ids))]); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

type unremembered struct{ *Backend }

func (u unremembered) Load(ctx context.Context, id string) (client.TokenState, error) {
	h, err := u.Backend.Load(ctx, id)
	h.DueAt = h.Now
	return h, err
}
