package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// attemptRow is a line of the ledger.
type attemptRow struct {
	ID           string    `gorm:"column:id;primaryKey"`
	ConnectionID string    `gorm:"column:connection_id"`
	Generation   int64     `gorm:"column:generation"`
	Trigger      string    `gorm:"column:trigger_name"`
	Outcome      string    `gorm:"column:outcome"`
	ErrorCode    string    `gorm:"column:error_code"`
	HTTPStatus   int       `gorm:"column:http_status"`
	RetryAfterMS int64     `gorm:"column:retry_after_ms"`
	DurationMS   int64     `gorm:"column:duration_ms"`
	LifeLeftMS   int64     `gorm:"column:life_left_ms"`
	LatenessMS   int64     `gorm:"column:lateness_ms"`
	Retries      int       `gorm:"column:retries"`
	RunID        string    `gorm:"column:run_id"`
	TraceID      string    `gorm:"column:trace_id"`
	RequestID    string    `gorm:"column:request_id"`
	StartedAt    time.Time `gorm:"column:started_at"`
}

// TableName implements gorm's Tabler.
func (attemptRow) TableName() string { return "attempts" }

// appendAttempt adds a line to the ledger. Added again, the first line stays.
func appendAttempt(tx *gorm.DB, a perennial.Attempt) error {
	r := newAttemptRow(a)
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&r).Error; err != nil {
		return fmt.Errorf("append to the ledger of connection %s: %w", a.ConnectionID, err)
	}
	return nil
}

func (r attemptRow) attempt() perennial.Attempt {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	return perennial.Attempt{ID: r.ID, ConnectionID: r.ConnectionID, Generation: r.Generation, Trigger: perennial.Trigger(r.Trigger),
		Outcome: perennial.Outcome(r.Outcome), ErrorCode: r.ErrorCode, HTTPStatus: r.HTTPStatus, RetryAfter: ms(r.RetryAfterMS),
		Duration: ms(r.DurationMS), LifeLeft: ms(r.LifeLeftMS), Lateness: ms(r.LatenessMS), Retries: r.Retries, RunID: r.RunID,
		TraceID: r.TraceID, RequestID: r.RequestID, StartedAt: r.StartedAt.UTC()}
}

func newAttemptRow(a perennial.Attempt) attemptRow {
	return attemptRow{ID: a.ID, ConnectionID: a.ConnectionID, Generation: a.Generation, Trigger: string(a.Trigger), Outcome: string(a.Outcome),
		ErrorCode: a.ErrorCode, HTTPStatus: a.HTTPStatus, RetryAfterMS: a.RetryAfter.Milliseconds(), DurationMS: a.Duration.Milliseconds(),
		LifeLeftMS: a.LifeLeft.Milliseconds(), LatenessMS: a.Lateness.Milliseconds(), Retries: a.Retries, RunID: a.RunID, TraceID: a.TraceID,
		RequestID: a.RequestID, StartedAt: a.StartedAt.UTC().Truncate(time.Microsecond)}
}

// attemptColumns, attemptMarks and attemptValues are the parts of a ledger line in a
// statement written by hand.
const (
	attemptColumns = `id, connection_id, generation, trigger_name, outcome, error_code, http_status, retry_after_ms, duration_ms, life_left_ms, lateness_ms, retries, run_id, trace_id, request_id, started_at`
	attemptMarks   = `?, ?, ?::bigint, ?, ?, ?, ?::integer, ?::bigint, ?::bigint, ?::bigint, ?::bigint, ?::integer, ?, ?, ?, ?::timestamptz`
)

func attemptValues(r attemptRow) []any {
	return []any{r.ID, r.ConnectionID, r.Generation, r.Trigger, r.Outcome, r.ErrorCode, r.HTTPStatus, r.RetryAfterMS, r.DurationMS, r.LifeLeftMS,
		r.LatenessMS, r.Retries, r.RunID, r.TraceID, r.RequestID, r.StartedAt}
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

// Attempts returns a connection's last attempts, newest first, at most limit.
func (s *Store) Attempts(ctx context.Context, connectionID string, limit int) ([]perennial.Attempt, error) {
	return s.AttemptsAfter(ctx, connectionID, time.Time{}, "", limit)
}

// AttemptsAfter returns the page of [Store.Attempts] after the attempt id that started
// at started. The zero time gives the first page.
func (s *Store) AttemptsAfter(ctx context.Context, connectionID string, started time.Time, id string, limit int) ([]perennial.Attempt, error) {
	var rows []attemptRow
	q := s.db.With(ctx).Where("connection_id = ?", connectionID)
	if !started.IsZero() {
		q = q.Where("started_at < ? OR started_at = ? AND id > ?", db.Nullable(started), db.Nullable(started), id)
	}
	err := q.Order("started_at DESC, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the ledger of connection %s: %w", connectionID, err)
	}
	out := make([]perennial.Attempt, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.attempt())
	}
	return out, nil
}
