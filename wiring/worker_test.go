package wiring

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// awayUntil is a store that refuses everything before a time.
type awayUntil struct {
	refresh.Store
	back  time.Time
	saved chan time.Time
	asked chan struct{} // if not nil
}

func (s *awayUntil) Save(context.Context, store.SaveRequest) (store.SaveResult, error) {
	if s.asked != nil {
		s.asked <- struct{}{}
	}
	if time.Now().Before(s.back) {
		return store.SaveResult{}, errors.New("away")
	}
	s.saved <- time.Now()
	return store.SaveResult{Stored: true}, nil
}

func (s *awayUntil) Get(context.Context, perennial.Access, string) (perennial.Connection, time.Time, error) {
	return perennial.Connection{}, time.Time{}, nil
}

// TestKeptTokensAreStoredWhenTheStoreIsBack: kept tokens are stored within half a
// second, on the test's clock, before another worker presents the old token again. An
// outage of a minute is not logged twice a second.
func TestKeptTokensAreStoredWhenTheStoreIsBack(t *testing.T) {
	t.Parallel()
	kept, err := spool.Open(t.TempDir(), 10)
	require.NoError(t, err)
	require.NoError(t, kept.Add(store.SaveRequest{ID: "con_1", NewGeneration: 2}))
	var logged bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		away := &awayUntil{back: time.Now().Add(time.Minute + 100*time.Millisecond), saved: make(chan time.Time, 1)}
		stop := StoreUnsaved(t.Context(), refresh.New(refresh.Config{Store: away, Spool: kept}), slog.New(slog.NewTextHandler(&logged, nil)))
		assert.LessOrEqual(t, (<-away.saved).Sub(away.back), 500*time.Millisecond)
		stop()
	})
	holds, err := kept.Has("con_1", 1)
	require.NoError(t, err)
	assert.False(t, holds)
	assert.LessOrEqual(t, strings.Count(logged.String(), "not stored yet"), 3, logged.String())
}

// TestStopBesideOddFiles: a pipe, a folder, a huge file and a set that is not stored in
// the spool do not hold a worker that stops.
func TestStopBesideOddFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept, err := spool.Open(dir, 10)
	require.NoError(t, err)
	require.NoError(t, kept.Add(store.SaveRequest{ID: "con_1", NewGeneration: 2}))
	for _, name := range []string{"a.sealed", ".new-a"} {
		require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"+name), 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"+name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "huge"+name), nil, 0o600))
		require.NoError(t, os.Truncate(filepath.Join(dir, "huge"+name), 1<<40))
	}
	away := &awayUntil{back: time.Now().Add(time.Hour), saved: make(chan time.Time, 1), asked: make(chan struct{}, 100)}
	stop := StoreUnsaved(t.Context(), refresh.New(refresh.Config{Store: away, Spool: kept}), slog.New(slog.DiscardHandler))
	<-away.asked // the set behind the odd files was tried
	began := time.Now()
	stop()
	assert.Less(t, time.Since(began), 20*time.Second)
}
