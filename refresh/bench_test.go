package refresh

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
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

// steadyWorld is a provider that always answers, for [BenchmarkRefresh].
type steadyWorld struct{ app provider.App }

func (w steadyWorld) App(string) (provider.App, error) { return w.app, nil }

func (w steadyWorld) Refresh(ctx context.Context, _ provider.App, _, _ perennial.Secret, send func(context.Context) error) provider.Reply {
	if err := send(ctx); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnavailable}
	}
	return fresh("1")
}

// freshStore drops its ledger, so that the benchmark does not measure the ledger's
// growth.
type freshStore struct{ *store.Memory }

func (s freshStore) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	s.Ledger = s.Ledger[:0]
	return s.Memory.Save(ctx, req)
}

// BenchmarkRefresh measures the engine's own part of a successful refresh: the store is
// in memory, and the provider answers at once. "plain" does not seal.
func BenchmarkRefresh(b *testing.B) {
	keyring, err := seal.NewEphemeral()
	require.NoError(b, err)
	for _, c := range []struct {
		name   string
		sealer Sealer
		class  perennial.ReplayClass
	}{
		{"plain", plain{}, perennial.ReplayUnknown},
		{"sealed", keyring, perennial.ReplayUnknown},
		{"sealed, reuse revokes", keyring, perennial.ReplayReuseRevokes},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := steadyWorld{provider.App{Name: "app", ClientID: "client", Buffer: provider.BufferQueue, Provider: provider.Entry{Name: "generic", ReplayClass: c.class}}}
			rows := store.NewMemory(time.Now)
			e := New(Config{Store: freshStore{rows}, Presenter: w, Apps: w, Sealer: c.sealer})
			var ids []string
			for i := range 1000 {
				conn := perennial.Connection{ID: fmt.Sprint("con_", i), TenantID: "t", App: "app", Provider: "generic"}
				first := fresh("1").Tokens
				write, err := Tokens(c.sealer, w.app, conn, 1, first, first.RefreshToken, time.Now())
				require.NoError(b, err)
				rows.Put(conn, write)
				ids = append(ids, conn.ID)
			}
			ctx, n := context.Background(), 0
			b.ReportAllocs()
			for b.Loop() {
				res, err := e.Refresh(ctx, Request{ConnectionID: ids[n%len(ids)], Generation: 1 + int64(n/len(ids)), Trigger: perennial.TriggerTimer})
				if err != nil || res.Outcome != perennial.OutcomeRefreshed {
					b.Fatal(res.Outcome, res.Code, err)
				}
				n++
			}
		})
	}
}
