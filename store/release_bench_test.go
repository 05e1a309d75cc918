package store

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// How many connections wait in [BenchmarkRelease], and for how long it is watched; make
// long-release sets both.
const (
	waitingVariable = "PERENNIAL_BENCH_WAITING"
	watchVariable   = "PERENNIAL_BENCH_WATCH"
)

const (
	releaseLimit = 300 * spacing // requests a second: 300 are released
	refreshers   = 16
)

// BenchmarkRelease measures the end of an outage: how long the good probe takes to begin
// the release, and the transactions of one process that does its steps, while another
// does them too and the released connections are refreshed.
func BenchmarkRelease(b *testing.B) {
	waiting, watch := 20_000, 3*time.Second
	if text := os.Getenv(waitingVariable); text != "" {
		var err error
		waiting, err = strconv.Atoi(text)
		require.NoError(b, err, waitingVariable)
		watch, err = time.ParseDuration(os.Getenv(watchVariable))
		require.NoError(b, err, watchVariable)
	}
	for b.Loop() {
		b.StopTimer()
		s, conn := fleetOfWaiting(b, waiting)
		exec(b, conn, "ANALYZE")
		b.StartTimer()
		measureRelease(b, s, watch)
	}
}

func measureRelease(b *testing.B, s *Store, watch time.Duration) {
	began := time.Now()
	require.NoError(b, s.NoteReply(b.Context(), goodProbe))
	b.ReportMetric(time.Since(began).Seconds(), "s_to_begin")

	var refreshed atomic.Int64
	released := make(chan perennial.Connection, 10_000)
	var fleet, processes errgroup.Group
	for range refreshers {
		fleet.Go(func() error {
			for c := range released {
				if err := s.refreshes(b.Context(), c); err != nil {
					return err
				}
				refreshed.Add(1)
			}
			return nil
		})
	}
	ctx, stop := context.WithTimeout(b.Context(), watch)
	defer stop()
	req := ReleaseRequest{App: "hubspot", Rate: releaseLimit}
	processes.Go(func() error {
		return eachSecond(ctx, func() error {
			page, _, err := s.Release(b.Context(), req)
			return hand(released, page, err)
		})
	})
	var took []time.Duration
	timed := func(do func() error) error {
		began := time.Now()
		defer func() { took = append(took, time.Since(began)) }()
		return do()
	}
	processes.Go(func() error {
		return eachSecond(ctx, func() (err error) {
			for all, i := false, 0; i < gatherChunks && !all && err == nil; i++ {
				err = timed(func() error { all, err = s.gather(b.Context(), "hubspot", "h"); return err })
			}
			for n := releaseChunk; n == releaseChunk && err == nil; {
				var page []perennial.Connection
				err = timed(func() error { page, _, err = s.giveTurns(b.Context(), req, "h"); return err })
				err, n = hand(released, page, err), len(page)
			}
			return err
		})
	})
	require.NoError(b, processes.Wait())
	close(released)
	require.NoError(b, fleet.Wait())
	require.NotEmpty(b, took)
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms_p99_transaction")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms_longest_transaction")
	b.ReportMetric(float64(len(took)), "transactions")
	b.ReportMetric(float64(refreshed.Load())/time.Since(began).Seconds(), "refreshes/s")
}

// hand passes a page on to those that refresh.
func hand(to chan<- perennial.Connection, page []perennial.Connection, err error) error {
	for _, c := range page {
		to <- c
	}
	return err
}

// eachSecond does something now and each second until ctx ends.
func eachSecond(ctx context.Context, do func() error) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if err := do(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// refreshes refreshes a connection that has its turn.
func (s *Store) refreshes(ctx context.Context, c perennial.Connection) error {
	req := ClaimRequest{ID: c.ID, Generation: c.Generation, Trigger: perennial.TriggerRetry, AttemptID: uuid.NewString(), Lease: time.Minute}
	for {
		claim, err := s.Claim(ctx, req)
		if err != nil {
			return err
		}
		if c = claim.Connection; claim.Verdict == VerdictClaimed {
			break
		}
		select { // until its turn
		case <-time.After(claim.RetryAt.Sub(claim.Now)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	sealed := make([]byte, 600)
	_, err := s.Save(ctx, SaveRequest{ID: c.ID, AttemptID: c.Open.ID, Generation: c.Generation, Digest: c.RefreshTokenDigest, NewGeneration: c.Generation + 1,
		SealedTokens: SealedTokens{AccessTokenSealed: sealed, RefreshTokenSealed: sealed, RefreshTokenDigest: "d2" + c.ID, ExpiresAt: time.Now().Add(time.Hour), NextRefreshAt: time.Now().Add(time.Hour)},
		Ledger:       perennial.Attempt{StartedAt: c.Open.StartedAt, Outcome: perennial.OutcomeRefreshed}, Claimed: c})
	return err
}
