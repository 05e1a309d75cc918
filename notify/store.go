package notify

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
)

// Store keeps webhook endpoints and the deliveries of events to them. It is safe for
// concurrent use by many processes.
type Store struct{ db *db.DB }

// NewStore returns the store of an open database.
func NewStore(d *db.DB) *Store { return &Store{db: d} }

// Now returns the database's clock, in UTC.
func (s *Store) Now(ctx context.Context) (time.Time, error) { return s.db.Now(ctx) }

// Prune deletes deliveries that ended and are older than keep, at most limit. It returns
// how many.
func (s *Store) Prune(ctx context.Context, keep time.Duration, limit int) (int64, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	result := s.db.With(ctx).Exec("DELETE FROM webhook_deliveries WHERE (event_id, endpoint_id) IN"+
		" (SELECT event_id, endpoint_id FROM webhook_deliveries WHERE created_at < ? AND state <> 'pending' LIMIT ?)", db.Nullable(now.Add(-keep)), limit)
	return result.RowsAffected, db.Wrap("delete old deliveries", result.Error)
}
