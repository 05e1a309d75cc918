package api

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// RequestStore keeps the requests that carried an Idempotency-Key, for 24 hours. It is
// safe for concurrent use by many processes.
type RequestStore struct{ db *db.DB }

// NewRequestStore returns the store of an open database.
func NewRequestStore(d *db.DB) *RequestStore { return &RequestStore{db: d} }

// idempotencyKept is how long the result of a request is kept.
const idempotencyKept = 24 * time.Hour

// IdempotentRequest is a request with an Idempotency-Key, and its result.
type IdempotentRequest struct {
	APIKeyID    string
	KeyHash     string // of the Idempotency-Key
	Fingerprint string // a keyed hash of the request, which reveals nothing of its body
	Status      int    // of HTTP; 0: still running, or cut off
	Answer      string // without secrets
	CreatedAt   time.Time
	Now         time.Time // the database's clock
}

// requestRow is a row of the table idempotency_keys.
type requestRow struct {
	APIKeyID    string     `gorm:"column:api_key_id;primaryKey"`
	KeyHash     string     `gorm:"column:key_hash;primaryKey"`
	Fingerprint string     `gorm:"column:fingerprint"`
	Status      int        `gorm:"column:status"`
	Answer      string     `gorm:"column:answer"`
	CreatedAt   *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (requestRow) TableName() string { return "idempotency_keys" }

func (r requestRow) request() IdempotentRequest {
	return IdempotentRequest{APIKeyID: r.APIKeyID, KeyHash: r.KeyHash, Fingerprint: r.Fingerprint, Status: r.Status, Answer: r.Answer, CreatedAt: db.Time(r.CreatedAt)}
}

// begun returns the row of a request that has no result yet.
func begun(a IdempotentRequest, now time.Time) requestRow {
	return requestRow{APIKeyID: a.APIKeyID, KeyHash: a.KeyHash, Fingerprint: a.Fingerprint, CreatedAt: &now}
}

const ofRequest = "api_key_id = ? AND key_hash = ?"

// Begin claims an Idempotency-Key for a request. first is true if no request had
// it within the last 24 hours: the caller then executes the request. Otherwise earlier
// is the result of the first request with it. Of many concurrent callers one is the
// first.
func (s *RequestStore) Begin(ctx context.Context, a IdempotentRequest) (earlier IdempotentRequest, first bool, err error) {
	err = s.db.Durably(ctx, "take an Idempotency-Key", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		now = now.UTC().Truncate(time.Microsecond)
		if err := tx.Where(ofRequest+" AND created_at < ?", a.APIKeyID, a.KeyHash, db.Nullable(now.Add(-idempotencyKept))).Delete(&requestRow{}).Error; err != nil {
			return fmt.Errorf("take an Idempotency-Key: %w", err)
		}
		r := begun(a, now)
		result := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&r)
		if result.Error != nil {
			return fmt.Errorf("take an Idempotency-Key: %w", result.Error)
		}
		if first = result.RowsAffected == 1; first {
			return nil
		}
		if err := tx.Where(ofRequest, a.APIKeyID, a.KeyHash).Take(&r).Error; err != nil {
			return fmt.Errorf("read an Idempotency-Key: %w", err)
		}
		earlier = r.request()
		earlier.Now = now
		return nil
	})
	return earlier, first, err
}

// End writes the result of a request.
func (s *RequestStore) End(ctx context.Context, a IdempotentRequest) error {
	if a.Status == 0 {
		return perennial.Errorf(perennial.CodeInvalid, "a request that ended has a status")
	}
	return db.Wrap("write what a request came to", s.db.With(ctx).Table("idempotency_keys").Where(ofRequest, a.APIKeyID, a.KeyHash).
		Updates(map[string]any{"status": a.Status, "answer": a.Answer}).Error)
}

// Forget frees an Idempotency-Key: the request changed nothing and may be
// executed anew.
func (s *RequestStore) Forget(ctx context.Context, a IdempotentRequest) error {
	return db.Wrap("give an Idempotency-Key back", s.db.With(ctx).Where(ofRequest+" AND status = 0", a.APIKeyID, a.KeyHash).Delete(&requestRow{}).Error)
}

// Prune deletes at most limit requests that are older than 24 hours, and
// returns how many.
func (s *RequestStore) Prune(ctx context.Context, limit int) (int64, error) {
	now, err := s.db.Now(ctx)
	if err != nil {
		return 0, err
	}
	result := s.db.With(ctx).Exec("DELETE FROM idempotency_keys WHERE (api_key_id, key_hash) IN (SELECT api_key_id, key_hash FROM idempotency_keys WHERE created_at < ? LIMIT ?)",
		db.Nullable(now.Add(-idempotencyKept)), limit)
	return result.RowsAffected, db.Wrap("delete old Idempotency-Keys", result.Error)
}
