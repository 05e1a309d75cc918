package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

func BenchmarkDue(b *testing.B) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name         string
		before, life time.Duration
	}{{"same life", time.Hour, time.Hour}, {"another life", 70 * time.Minute, time.Hour}} {
		b.Run(c.name, func(b *testing.B) {
			generation := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				generation++
				timing.DueAfter(c.before, start, c.life, provider.BufferQueue, "con_01JABCDEFGHJKMNPQRSTVWXYZ0", generation)
			}
		})
	}
}

func BenchmarkWake(b *testing.B) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := perennial.Connection{Status: perennial.StatusActive, CreatedAt: now, NextRefreshAt: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		timing.Wake(c, now)
	}
}
