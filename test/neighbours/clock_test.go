package neighbours

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// database creates a database whose clock a test moves, and returns its URL. Call it
// outside of the bubble.
func database(t testing.TB) string {
	t.Helper()
	at := testpg.URL(t)
	s, err := store.Open(t.Context(), at)
	require.NoError(t, err)
	_, _, err = s.Migrate(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.Close())
	u, err := url.Parse(at)
	require.NoError(t, err)
	execute(t, at,
		`CREATE SEQUENCE virtual_clock`,
		`CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
			'SELECT timestamptz ''epoch'' + last_value * interval ''1 microsecond'' FROM virtual_clock'`,
		`ALTER DATABASE `+strings.TrimPrefix(u.Path, "/")+` SET search_path = public, pg_catalog`)
	return at
}

func execute(t testing.TB, at string, statements ...string) {
	t.Helper()
	raw, err := sql.Open("pgx", at)
	require.NoError(t, err)
	defer raw.Close()
	for _, statement := range statements {
		_, err := raw.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

// clock moves the clock of a database to the bubble's time. All processes of a world
// share it.
type clock struct {
	sql *sql.DB
	mu  sync.Mutex
	at  time.Time
}

// move sets the database's clock. It holds the lock meanwhile, which keeps the bubble's
// time from moving, so that nobody reads a time from before.
func (c *clock) move(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Equal(c.at) {
		return
	}
	if _, err := c.sql.ExecContext(context.WithoutCancel(ctx), `SELECT setval('virtual_clock', $1)`, now.UnixMicro()); err != nil {
		panic(fmt.Sprintf("move the database's clock: %v", err))
	}
	c.at = now
}

// clocked is the store of one process, and moves the database's clock before each call
// of a method whose statements read it. The other methods are the store's own.
type clocked struct {
	*store.Store
	clock *clock
}

func (s clocked) Now(ctx context.Context) (time.Time, error) {
	s.clock.move(ctx)
	return s.Store.Now(ctx)
}

func (s clocked) Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	s.clock.move(ctx)
	return s.Store.Get(ctx, access, id)
}

func (s clocked) Insert(ctx context.Context, access perennial.Access, c perennial.Connection, w store.TokenWrite) (perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.Insert(ctx, access, c, w)
}

func (s clocked) ReplaceTokens(ctx context.Context, access perennial.Access, id string, from perennial.Status, generation int64, w store.TokenWrite) (perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.ReplaceTokens(ctx, access, id, from, generation, w)
}

func (s clocked) SetStatus(ctx context.Context, access perennial.Access, id string, from []perennial.Status, generation int64, to perennial.Status, reason perennial.Reason) (perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.SetStatus(ctx, access, id, from, generation, to, reason)
}

func (s clocked) Admit(ctx context.Context, req store.AdmitRequest) (store.Admission, error) {
	s.clock.move(ctx)
	return s.Store.Admit(ctx, req)
}

func (s clocked) FastAdmit(ctx context.Context, req store.FastAdmitRequest) (store.Admission, bool, error) {
	s.clock.move(ctx)
	return s.Store.FastAdmit(ctx, req)
}

func (s clocked) NoteReply(ctx context.Context, req store.NoteRequest) error {
	s.clock.move(ctx)
	return s.Store.NoteReply(ctx, req)
}

func (s clocked) Claim(ctx context.Context, req store.ClaimRequest) (store.Claim, error) {
	s.clock.move(ctx)
	return s.Store.Claim(ctx, req)
}

func (s clocked) FastClaim(ctx context.Context, app string, req store.ClaimRequest) (store.Claim, bool, error) {
	s.clock.move(ctx)
	return s.Store.FastClaim(ctx, app, req)
}

func (s clocked) MarkSending(ctx context.Context, id, attemptID string) error {
	s.clock.move(ctx)
	return s.Store.MarkSending(ctx, id, attemptID)
}

func (s clocked) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	s.clock.move(ctx)
	return s.Store.Save(ctx, req)
}

func (s clocked) CloseAttempt(ctx context.Context, req store.CloseRequest) (perennial.Connection, bool, error) {
	s.clock.move(ctx)
	return s.Store.CloseAttempt(ctx, req)
}

func (s clocked) MarkSetAside(ctx context.Context, req store.SetAsideRequest) (perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.MarkSetAside(ctx, req)
}

func (s clocked) ClaimDue(ctx context.Context, req store.ClaimDueRequest) (store.ClaimDueResult, error) {
	s.clock.move(ctx)
	return s.Store.ClaimDue(ctx, req)
}

func (s clocked) Due(ctx context.Context, shard store.Shard, limit int) (int, error) {
	s.clock.move(ctx)
	return s.Store.Due(ctx, shard, limit)
}

func (s clocked) MarkRolledBack(ctx context.Context, shard store.Shard, beat int64) (int64, error) {
	s.clock.move(ctx)
	return s.Store.MarkRolledBack(ctx, shard, beat)
}

func (s clocked) TakeSlots(ctx context.Context, app string, rate float64, lead, ahead time.Duration, n int) (time.Time, time.Duration, int, error) {
	s.clock.move(ctx)
	return s.Store.TakeSlots(ctx, app, rate, lead, ahead, n)
}

func (s clocked) Overdue(ctx context.Context, grace time.Duration, limit int) ([]perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.Overdue(ctx, grace, limit)
}

func (s clocked) InDoubt(ctx context.Context, grace time.Duration, after string, limit int) ([]perennial.Connection, error) {
	s.clock.move(ctx)
	return s.Store.InDoubt(ctx, grace, after, limit)
}

func (s clocked) Warn(ctx context.Context, limit int) (int, error) {
	s.clock.move(ctx)
	return s.Store.Warn(ctx, limit)
}

func (s clocked) EndQuietHolds(ctx context.Context) ([]string, error) {
	s.clock.move(ctx)
	return s.Store.EndQuietHolds(ctx)
}

func (s clocked) Prune(ctx context.Context, keep time.Duration, limit int) (int64, error) {
	s.clock.move(ctx)
	return s.Store.Prune(ctx, keep, limit)
}

func (s clocked) Release(ctx context.Context, req store.ReleaseRequest) ([]perennial.Connection, bool, error) {
	s.clock.move(ctx)
	return s.Store.Release(ctx, req)
}

func (s clocked) AppState(ctx context.Context, name string) (store.AppState, error) {
	s.clock.move(ctx)
	return s.Store.AppState(ctx, name)
}

func (s clocked) DismissRefusalHold(ctx context.Context, name string) error {
	s.clock.move(ctx)
	return s.Store.DismissRefusalHold(ctx, name)
}
