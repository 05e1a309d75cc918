package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

var reply = provider.Reply{Outcome: perennial.OutcomeRefreshed, Sent: true, HTTPStatus: 200, Tokens: perennial.TokenSet{
	AccessToken: perennial.NewSecret("access"), RefreshToken: perennial.NewSecret("refresh"), ExpiresIn: time.Hour}}

// steadyWorld is a provider that always answers, for [BenchmarkRefresh].
type steadyWorld struct{ app provider.App }

func (w steadyWorld) App(string) (provider.App, error) { return w.app, nil }

func (w steadyWorld) Refresh(ctx context.Context, _ provider.App, _, _ perennial.Secret, send func(context.Context) error) provider.Reply {
	if err := send(ctx); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnavailable}
	}
	return reply
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
		sealer refresh.Sealer
		class  perennial.ReplayClass
	}{
		{"plain", plain{}, perennial.ReplayUnknown},
		{"sealed", keyring, perennial.ReplayUnknown},
		{"sealed, reuse revokes", keyring, perennial.ReplayReuseRevokes},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := steadyWorld{provider.App{Name: "app", ClientID: "client", Buffer: provider.BufferQueue, Provider: provider.Entry{Name: "generic", ReplayClass: c.class}}}
			rows := store.NewMemory(time.Now)
			e := refresh.New(refresh.Config{Store: freshStore{rows}, Presenter: w, Apps: w, Sealer: c.sealer})
			var ids []string
			for i := range 1000 {
				conn := perennial.Connection{ID: fmt.Sprint("con_", i), TenantID: "t", App: "app", Provider: "generic"}
				first := reply.Tokens
				write, err := refresh.Tokens(c.sealer, w.app, conn, 1, first, first.RefreshToken, time.Now())
				require.NoError(b, err)
				rows.Put(conn, write)
				ids = append(ids, conn.ID)
			}
			ctx, n := context.Background(), 0
			b.ReportAllocs()
			for b.Loop() {
				res, err := e.Refresh(ctx, refresh.Request{ConnectionID: ids[n%len(ids)], Generation: 1 + int64(n/len(ids)), Trigger: perennial.TriggerTimer})
				if err != nil || res.Outcome != perennial.OutcomeRefreshed {
					b.Fatal(res.Outcome, res.Code, err)
				}
				n++
			}
		})
	}
}
