package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// counted counts the reports to the gate.
type counted struct {
	Store
	notes int
}

func (s *counted) NoteReply(ctx context.Context, req store.NoteRequest) error {
	s.notes++
	return s.Store.NoteReply(ctx, req)
}

// TestARecoveryIsReported: a success after more than a day of failures ends the waits of
// those that failed alike. Any other success is reported to nobody, and costs nothing more.
func TestARecoveryIsReported(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 5, fresh("2"))
	counts := &counted{Store: b.db}
	b.Store = counts
	fail := func(id string, since time.Duration) {
		now, err := b.db.Now(t.Context())
		require.NoError(t, err)
		stamp := func(at time.Time) string { return "'" + at.UTC().Format("2006-01-02 15:04:05.000000-07:00") + "'" }
		later := stamp(now.Add(20 * time.Hour))
		b.exec(t, "UPDATE connections SET health = 'failing', failing_code = 'http_403', failure_count = 30, failing_since = "+stamp(now.Add(-since))+
			", next_attempt_at = "+later+", backoff_until = "+later+" WHERE id = '"+id+"'")
	}
	for i, since := range []time.Duration{0, 23 * time.Hour, 25 * time.Hour, 25 * time.Hour} {
		if since > 0 {
			fail(ids[i], since)
		}
	}
	end := func(id string) {
		_, err := b.db.EndBackoff(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
	}
	b.ask(t, ids[0])
	end(ids[1])
	b.ask(t, ids[1])
	require.Zero(t, counts.notes)
	end(ids[2])
	b.ask(t, ids[2])
	require.Equal(t, 1, counts.notes)
	c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), ids[3])
	require.NoError(t, err)
	require.Less(t, c.WaitsUntil(now).Sub(now), time.Minute)
	b.ask(t, ids[4])
	require.Equal(t, 1, counts.notes)
}
