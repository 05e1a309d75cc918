package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
)

// setup returns a store with one sync.
func setup(t *testing.T) *store {
	t.Helper()
	s, err := openStore(t.Context(), filepath.Join(t.TempDir(), "product.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.close()) })
	require.NoError(t, s.add(t.Context(), "key-1", "con_1"))
	return s
}

func (s *store) isDue(t *testing.T) bool {
	t.Helper()
	_, found, err := s.due(t.Context())
	require.NoError(t, err)
	return found
}

func recovered(t *testing.T, s *store, id string) {
	t.Helper()
	s.event(t, id, perennial.EventRecovered, time.Now())
}

// event makes the store take an event about con_1.
func (s *store) event(t *testing.T, id string, what perennial.EventType, changed time.Time) {
	t.Helper()
	require.NoError(t, s.take(t.Context(), id, notify.Body{Type: what, Timestamp: changed, Data: notify.Data{ConnectionID: "con_1"}}))
}

// TestAside: the event resumes a sync that was put aside, even if the event arrives
// while the try that finds the loss is still running.
func TestAside(t *testing.T) {
	t.Parallel()
	s := setup(t)
	require.NoError(t, s.putAside(t.Context(), "con_1", "", time.Now()))
	require.False(t, s.isDue(t))
	recovered(t, s, "evt_1")
	require.True(t, s.isDue(t))

	began := time.Now()
	recovered(t, s, "evt_2")
	require.NoError(t, s.putAside(t.Context(), "con_1", "", began))
	require.True(t, s.isDue(t), "no event will come any more")
	require.NoError(t, s.putAside(t.Context(), "con_2", "", began))
	require.NoError(t, s.putAside(t.Context(), "con_1", "", time.Now().Add(time.Second)))
	require.False(t, s.isDue(t), "it was lost again since")
}

// TestEventTwice: the second delivery of an event changes nothing.
func TestEventTwice(t *testing.T) {
	t.Parallel()
	s := setup(t)
	recovered(t, s, "evt_1")
	require.NoError(t, s.putAside(t.Context(), "con_1", "", time.Now().Add(time.Second)))
	recovered(t, s, "evt_1")
	require.False(t, s.isDue(t))
	lines, err := s.log(t.Context(), 10)
	require.NoError(t, err)
	require.Len(t, lines, 2)
}

// TestPostpone: postpone also moves syncs that were put aside, which are otherwise
// tried every hour.
func TestPostpone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	require.NoError(t, s.putAside(t.Context(), "con_1", "", time.Now()))
	_, err := s.db.ExecContext(t.Context(), "UPDATE syncs SET due_at = 0")
	require.NoError(t, err)
	require.True(t, s.isDue(t))
	began := time.Now()
	require.NoError(t, s.postpone(t.Context(), "con_1", began.Add(time.Minute), "", began))
	require.False(t, s.isDue(t))
	recovered(t, s, "evt_1")
	require.True(t, s.isDue(t), "there is a token now")
	require.NoError(t, s.postpone(t.Context(), "con_1", began.Add(time.Minute), "", began))
	require.True(t, s.isDue(t), "the try began before the repair")
}

// TestOvertaken: deliveries have no order. A loss that arrives after its repair puts
// nothing aside, because no other event would resume it.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	for loss, repair := range map[perennial.EventType]perennial.EventType{
		perennial.EventReconnectRequired: perennial.EventRecovered,
		perennial.EventDisconnected:      perennial.EventConnected,
	} {
		s := setup(t)
		lost := time.Now()
		repaired := lost.Add(time.Microsecond)
		s.event(t, "evt_2", repair, repaired)
		s.event(t, "evt_1", loss, lost)
		require.True(t, s.isDue(t), "%s came late", loss)
		s.event(t, "evt_4", perennial.EventExpiringSoon, repaired.Add(time.Hour))
		s.event(t, "evt_3", loss, repaired.Add(time.Second))
		require.False(t, s.isDue(t), "the next %s counts, whatever else came", loss)
		s.event(t, "evt_5", repair, repaired.Add(time.Millisecond))
		require.False(t, s.isDue(t), "an older %s repairs nothing", repair)
		s.event(t, "evt_6", repair, repaired.Add(time.Minute))
		require.True(t, s.isDue(t))
		lines, err := s.log(t.Context(), 3)
		require.NoError(t, err)
		require.Equal(t, string(perennial.EventExpiringSoon), lines[0].State, "the log is in the order of the changes")
	}
}
