package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// appendAttempt adds a line to the ledger. Added again, the first line stays.
func appendAttempt(tx *gorm.DB, a perennial.Attempt) error {
	if err := attempts.insert(tx, a, "ON CONFLICT DO NOTHING"); err != nil {
		return fmt.Errorf("append to the ledger of connection %s: %w", a.ConnectionID, err)
	}
	return nil
}

// ledgerLine gives a ledger line the ids of its attempt and connection. The insert would
// drop a line without an id as a duplicate of another.
func ledgerLine(a perennial.Attempt, connectionID, attemptID string) perennial.Attempt {
	a.ConnectionID = connectionID
	if attemptID != "" {
		a.ID = attemptID
	}
	return a
}

// Attempt returns the ledger line of one of a connection's attempts. found is false, with
// no error, if there is none.
func (s *Store) Attempt(ctx context.Context, connectionID, id string) (a perennial.Attempt, found bool, err error) {
	lines, err := attempts.find(s.db.With(ctx).Where("id = ? AND connection_id = ?", id, connectionID).Limit(1))
	if err != nil || len(lines) == 0 {
		return a, false, db.Wrap("read the ledger of connection "+connectionID, err)
	}
	return lines[0], true, nil
}

// MayHaveBroughtTokens reports whether the attempt of a ledger line may have received
// tokens: it did, or it was lost and nobody knows. One that was closed with another
// outcome received none.
func MayHaveBroughtTokens(a perennial.Attempt) bool {
	return a.Outcome == perennial.OutcomeRefreshed || a.ErrorCode == codeLost || a.ErrorCode == codeLostUnsent
}

// Attempts returns a connection's last attempts, newest first, at most limit.
func (s *Store) Attempts(ctx context.Context, access perennial.Access, connectionID string, limit int) ([]perennial.Attempt, error) {
	return s.AttemptsAfter(ctx, access, connectionID, time.Time{}, "", limit)
}

// AttemptsAfter returns the page of [Store.Attempts] after the attempt id that started
// at started. The zero time gives the first page.
func (s *Store) AttemptsAfter(ctx context.Context, access perennial.Access, connectionID string, started time.Time, id string, limit int) ([]perennial.Attempt, error) {
	q := s.db.With(ctx).Where("connection_id = ?", connectionID)
	if reached := db.Reach(s.db.With(ctx).Table("connections").Select("id"), access); !access.Everything() {
		q = q.Where("connection_id IN (?)", reached.Where("id = ?", connectionID))
	}
	if !started.IsZero() {
		q = q.Where("started_at < ? OR started_at = ? AND id > ?", db.Nullable(started), db.Nullable(started), id)
	}
	lines, err := attempts.find(q.Order("started_at DESC, id").Limit(limit))
	return lines, db.Wrap("read the ledger of connection "+connectionID, err)
}

// AttemptLost reports whether an attempt with the connection's current refresh token ended
// without being closed, so that the tokens that it may have received can be anywhere. c is
// as just read.
func (s *Store) AttemptLost(ctx context.Context, c perennial.Connection) (bool, error) {
	if !c.Open.IsZero() || !c.Ambiguous() {
		return !c.Open.IsZero(), nil
	}
	var lost int64
	err := s.db.With(ctx).Raw("SELECT count(*) FROM attempts WHERE connection_id = ? AND started_at >= ? AND generation = ? AND error_code = ?",
		c.ID, db.Nullable(c.AmbiguousSince), c.Generation, codeLost).Scan(&lost).Error
	if err != nil {
		return false, fmt.Errorf("read the lost attempts of connection %s: %w", c.ID, err)
	}
	return lost > 0, nil
}
