package store_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// many is how many writers run at once.
const many = 64

// together runs fn many times at once, alternating between two processes.
func (b *bundle) together(t *testing.T, fn func(ctx context.Context, s *store.Store, n int) error) {
	t.Helper()
	stores := []*store.Store{b.Store, store.New(b.Open(t))}
	start := make(chan struct{})
	g, ctx := errgroup.WithContext(t.Context())
	for n := range many {
		g.Go(func() error {
			<-start
			return fn(ctx, stores[n%2], n)
		})
	}
	close(start)
	require.NoError(t, g.Wait())
}

func testWriters(t *testing.T, b *bundle) {
	c := b.connect(t)
	for round := range 3 {
		row := b.row(t, c.ID)
		var won atomic.Int64
		var winner atomic.Value
		b.together(t, func(ctx context.Context, s *store.Store, n int) error {
			which := fmt.Sprintf("%d of writer %d", round, n)
			req := saveRequest(row, which)
			req.AttemptID = uuid.NewString()
			saved, err := s.Save(ctx, req)
			if err == nil && saved.Stored {
				won.Add(1)
				winner.Store(which)
			}
			return err
		})
		require.Equal(t, int64(1), won.Load(), "exactly one writer wins generation %d", row.Generation+1)
		got := b.row(t, c.ID)
		require.Equal(t, row.Generation+1, got.Generation)
		require.Equal(t, digest(winner.Load().(string)), got.RefreshTokenDigest)
		require.Equal(t, int64(round+1), got.RefreshCount)
	}
}

func testClaims(t *testing.T, b *bundle) {
	c := b.connect(t)
	var won, busy atomic.Int64
	b.together(t, func(ctx context.Context, s *store.Store, _ int) error {
		got, err := s.Claim(ctx, claimRequest(c, lease, single))
		switch got.Verdict {
		case store.VerdictClaimed:
			won.Add(1)
		case store.VerdictBusy:
			busy.Add(1)
		}
		return err
	})
	require.Equal(t, int64(1), won.Load())
	require.Equal(t, int64(many-1), busy.Load())
}

func testTwoConnects(t *testing.T, b *bundle) {
	var won atomic.Int64
	b.together(t, func(ctx context.Context, s *store.Store, n int) error {
		_, err := s.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: uuid.NewString(), TenantID: "acme", App: "hubspot", AccountID: "same"}, tokens(1, fmt.Sprint(n)))
		switch {
		case err == nil:
			won.Add(1)
		case perennial.CodeOf(err) == perennial.CodeConflict:
			return nil
		}
		return err
	})
	require.Equal(t, int64(1), won.Load())
	rows, err := b.List(t.Context(), perennial.WorkerAccess(), store.Filter{})
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

// testLateStatus races status writes that were decided at generation 1 against a
// reconnect. Whichever comes first, the new token set stays.
func testLateStatus(t *testing.T, b *bundle) {
	for range 5 {
		c := b.connect(t)
		b.together(t, func(ctx context.Context, s *store.Store, n int) error {
			if n == many/2 {
				_, err := s.ReplaceTokens(ctx, perennial.WorkerAccess(), c.ID, "", 1, tokens(2, "2"))
				return err
			}
			_, err := s.SetStatus(ctx, perennial.WorkerAccess(), c.ID, perennial.Statuses, 1, perennial.StatusDisconnected, perennial.ReasonNone)
			if perennial.CodeOf(err) == perennial.CodeConflict {
				return nil
			}
			return err
		})
		got := b.row(t, c.ID)
		require.Equal(t, perennial.StatusActive, got.Status)
		require.Equal(t, int64(2), got.Generation)
		require.Equal(t, digest("2"), got.RefreshTokenDigest)
		require.NotEmpty(t, got.AccessTokenSealed)
	}
}

func testSecondProcess(t *testing.T, b *bundle) {
	other := &bundle{Database: b.Database, Store: store.New(b.Open(t))}
	c := b.claimed(t, b.connect(t), lease, single)
	require.Equal(t, c, other.row(t, c.ID))
	_, err := b.Save(t.Context(), saveRequest(c, "2"))
	require.NoError(t, err)
	got := other.row(t, c.ID)
	require.Equal(t, "sealed access 2", string(got.AccessTokenSealed))
	require.Equal(t, int64(2), got.Generation)
}

func testClock(t *testing.T, b *bundle) {
	now, err := b.Now(t.Context())
	require.NoError(t, err)
	require.Equal(t, time.UTC, now.Location())
	require.WithinDuration(t, time.Now(), now, time.Minute)
	b.Until(t, now)
	require.NoError(t, b.Ping(t.Context()))
}
