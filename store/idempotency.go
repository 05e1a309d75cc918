package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

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

type answeredRow struct {
	APIKeyID    string     `gorm:"column:api_key_id;primaryKey"`
	KeyHash     string     `gorm:"column:key_hash;primaryKey"`
	Fingerprint string     `gorm:"column:fingerprint"`
	Status      int        `gorm:"column:status"`
	Answer      string     `gorm:"column:answer"`
	CreatedAt   *time.Time `gorm:"column:created_at;autoCreateTime:false"`
}

// TableName implements gorm's Tabler.
func (answeredRow) TableName() string { return "idempotency_keys" }

const ofRequest = "api_key_id = ? AND key_hash = ?"

// BeginRequest claims an Idempotency-Key for a request. first is true if no request had
// it within the last 24 hours: the caller then executes the request. Otherwise earlier
// is the result of the first request with it. Of many concurrent callers one is the
// first.
func (s *Store) BeginRequest(ctx context.Context, a IdempotentRequest) (earlier IdempotentRequest, first bool, err error) {
	err = s.durably(ctx, "take an Idempotency-Key", func(tx *gorm.DB) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		now = now.UTC().Truncate(time.Microsecond)
		if err := tx.Where(ofRequest+" AND created_at < ?", a.APIKeyID, a.KeyHash, nullable(now.Add(-idempotencyKept))).Delete(&answeredRow{}).Error; err != nil {
			return fmt.Errorf("take an Idempotency-Key: %w", err)
		}
		r := answeredRow{APIKeyID: a.APIKeyID, KeyHash: a.KeyHash, Fingerprint: a.Fingerprint, CreatedAt: &now}
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
		earlier = IdempotentRequest{APIKeyID: r.APIKeyID, KeyHash: r.KeyHash, Fingerprint: r.Fingerprint, Status: r.Status, Answer: r.Answer, CreatedAt: stamp(r.CreatedAt), Now: now}
		return nil
	})
	return earlier, first, err
}

// EndRequest writes the result of a request.
func (s *Store) EndRequest(ctx context.Context, a IdempotentRequest) error {
	if a.Status == 0 {
		return perennial.Errorf(perennial.CodeInvalid, "a request that ended has a status")
	}
	return wrap("write what a request came to", s.db.WithContext(ctx).Table("idempotency_keys").Where(ofRequest, a.APIKeyID, a.KeyHash).
		Updates(map[string]any{"status": a.Status, "answer": a.Answer}).Error)
}

// ForgetRequest frees an Idempotency-Key: the request changed nothing and may be
// executed anew.
func (s *Store) ForgetRequest(ctx context.Context, a IdempotentRequest) error {
	return wrap("give an Idempotency-Key back", s.db.WithContext(ctx).Where(ofRequest+" AND status = 0", a.APIKeyID, a.KeyHash).Delete(&answeredRow{}).Error)
}

// PruneRequests deletes at most limit requests that are older than 24 hours, and
// returns how many.
func (s *Store) PruneRequests(ctx context.Context, limit int) (int64, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	result := s.db.WithContext(ctx).Exec("DELETE FROM idempotency_keys WHERE (api_key_id, key_hash) IN (SELECT api_key_id, key_hash FROM idempotency_keys WHERE created_at < ? LIMIT ?)",
		nullable(now.Add(-idempotencyKept)), limit)
	return result.RowsAffected, wrap("delete old Idempotency-Keys", result.Error)
}
