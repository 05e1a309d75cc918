package store_test

import (
	"database/sql"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// counted is between a store and its PostgreSQL, and counts the server's answers: one
// for each round trip.
type counted struct{ trips atomic.Int64 }

func (c *counted) url(t *testing.T, raw string) string {
	u, err := url.Parse(raw)
	require.NoError(t, err)
	server := u.Host
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			up, err := l.Accept()
			if err != nil {
				return
			}
			down, err := net.Dial("tcp", server)
			if err != nil {
				_ = up.Close()
				return
			}
			go func() { _, _ = io.Copy(down, up); _ = down.Close() }()
			go func() { c.pass(up, down); _ = up.Close() }()
		}
	}()
	u.Host = l.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable") // with TLS the first answer would be one byte without a length
	u.RawQuery = query.Encode()
	return u.String()
}

// pass copies the server's messages. Each is a letter and a length; Z ends an answer.
func (c *counted) pass(to io.Writer, from io.Reader) {
	var head [5]byte
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return
		}
		if head[0] == 'Z' {
			c.trips.Add(1)
		}
		if _, err := to.Write(head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(to, from, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return
		}
	}
}

// TestRoundTrips: a refresh of a healthy connection takes two round trips to the
// database, three if its app has a limit.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	var counts counted
	url := testpg.URL(t)
	past, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, past.Close()) })
	s, err := store.Open(t.Context(), counts.url(t, url))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, _, err = s.Migrate(t.Context())
	require.NoError(t, err)
	c, err := s.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: "c", TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "h", AccountID: "1"},
		store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{RefreshTokenDigest: "1"}, Status: perennial.StatusActive})
	require.NoError(t, err)

	trips := func(do func()) int64 {
		before := counts.trips.Load()
		do()
		return counts.trips.Load() - before
	}
	var admitted, held, claimed, marked, saved int64
	_, err = s.Admit(t.Context(), store.AdmitRequest{Connection: c, Rate: 1, Patience: time.Minute})
	require.NoError(t, err)
	for range 3 { // the first ones prepare the statements
		admit := func(patience time.Duration) store.Admission {
			a, ok, err := s.FastAdmit(t.Context(), store.FastAdmitRequest{ID: "c", Generation: c.Generation, App: "hubspot", Rate: 1, Patience: patience})
			require.NoError(t, err)
			require.True(t, ok)
			return a
		}
		admitted = trips(func() { require.True(t, admit(time.Minute).Admitted) })
		held = trips(func() { require.False(t, admit(0).Admitted) })
		_, err := past.ExecContext(t.Context(), "UPDATE connections SET next_attempt_at = NULL")
		require.NoError(t, err)
		claimed = trips(func() {
			claim, ok, err := s.FastClaim(t.Context(), "hubspot", store.ClaimRequest{ID: "c", Generation: c.Generation, AttemptID: uuid.NewString(), Lease: time.Minute})
			require.NoError(t, err)
			require.True(t, ok)
			c = claim.Connection
		})
		marked = trips(func() { require.NoError(t, s.MarkSending(t.Context(), "c", c.Open.ID)) })
		saved = trips(func() {
			got, err := s.Save(t.Context(), store.SaveRequest{ID: "c", AttemptID: c.Open.ID, Generation: c.Generation, Digest: c.RefreshTokenDigest,
				NewGeneration: c.Generation + 1, SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("a"), RefreshTokenSealed: []byte("r"), RefreshTokenDigest: "1"},
				Ledger: perennial.Attempt{StartedAt: c.Open.StartedAt, Outcome: perennial.OutcomeRefreshed}, Claimed: c})
			require.NoError(t, err)
			require.True(t, got.Stored)
			c = got.Connection
		})
	}
	require.Equal(t, []int64{1, 2, 1, 1, 1}, []int64{admitted, held, claimed, marked, saved})
}

// BenchmarkClaimAndSave measures what a refresh of a healthy connection costs
// PostgreSQL: in one statement each, and by the transactions.
func BenchmarkClaimAndSave(b *testing.B) {
	ctx := b.Context()
	s, err := store.Open(ctx, testpg.URL(b))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	_, _, err = s.Migrate(ctx)
	require.NoError(b, err)
	sealed := make([]byte, 600)
	for _, quick := range []bool{true, false} {
		id := uuid.NewString()
		c, err := s.Insert(ctx, perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: "acme", App: "hubspot", Provider: "hubspot", Host: "h", AccountID: id},
			store.TokenWrite{Generation: 1, SealedTokens: store.SealedTokens{AccessTokenSealed: sealed, RefreshTokenSealed: sealed, RefreshTokenDigest: "1"}, Status: perennial.StatusActive})
		require.NoError(b, err)
		b.Run(map[bool]string{true: "quick", false: "long"}[quick], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req := store.ClaimRequest{ID: id, Generation: c.Generation, AttemptID: uuid.NewString(), Lease: time.Minute}
				var claim store.Claim
				if quick {
					claim, _, err = s.FastClaim(ctx, "hubspot", req)
				} else {
					_, _, err = s.Get(ctx, perennial.WorkerAccess(), id)
					require.NoError(b, err)
					_, err = s.Admit(ctx, store.AdmitRequest{Connection: c})
					require.NoError(b, err)
					claim, err = s.Claim(ctx, req)
				}
				require.NoError(b, err)
				c = claim.Connection
				save := store.SaveRequest{ID: id, AttemptID: c.Open.ID, Generation: c.Generation, Digest: c.RefreshTokenDigest, NewGeneration: c.Generation + 1,
					SealedTokens: store.SealedTokens{AccessTokenSealed: sealed, RefreshTokenSealed: sealed, RefreshTokenDigest: "1"}, Ledger: perennial.Attempt{StartedAt: c.Open.StartedAt, Outcome: perennial.OutcomeRefreshed}}
				if quick {
					save.Claimed = c
				}
				got, err := s.Save(ctx, save)
				require.NoError(b, err)
				c = got.Connection
			}
		})
	}
}
