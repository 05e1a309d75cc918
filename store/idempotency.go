package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// idempotencyKept is for how long what a request came to is kept.
const idempotencyKept = 24 * time.Hour

// Answered is what a request with an Idempotency-Key came to.
type IdempotentRequest struct {
	APIKeyID    string
	KeyHash     string // of the Idempotency-Key
	Fingerprint string // of the request, keyed: it gives nothing of its body away
	Status      int    // of HTTP; 0: under way, or cut off
	Answer      string // without secrets
	CreatedAt   time.Time
	Now         time.Time // of the database
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

// BeginRequest takes an Idempotency-Key for a request. first says that nobody had
// it within the last 24 hours, and that the caller is to carry the request out;
// else earlier is what the first request with it came to. Of many at once one is
// the first.
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

// EndRequest writes what a request came to.
func (s *Store) EndRequest(ctx context.Context, a IdempotentRequest) error {
	if a.Status == 0 {
		return perennial.Errorf(perennial.CodeInvalid, "a request that ended has a status")
	}
	return wrap("write what a request came to", s.db.WithContext(ctx).Table("idempotency_keys").Where(ofRequest, a.APIKeyID, a.KeyHash).
		Updates(map[string]any{"status": a.Status, "answer": a.Answer}).Error)
}

// ForgetRequest gives an Idempotency-Key back: the request changed nothing, and may
// be carried out anew.
func (s *Store) ForgetRequest(ctx context.Context, a IdempotentRequest) error {
	return wrap("give an Idempotency-Key back", s.db.WithContext(ctx).Where(ofRequest+" AND status = 0", a.APIKeyID, a.KeyHash).Delete(&answeredRow{}).Error)
}

// PruneRequests deletes what is older than 24 hours, at most limit, and returns how
// many.
func (s *Store) PruneRequests(ctx context.Context, limit int) (int64, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	result := s.db.WithContext(ctx).Exec("DELETE FROM idempotency_keys WHERE (api_key_id, key_hash) IN (SELECT api_key_id, key_hash FROM idempotency_keys WHERE created_at < ? LIMIT ?)",
		nullable(now.Add(-idempotencyKept)), limit)
	return result.RowsAffected, wrap("delete old Idempotency-Keys", result.Error)
}
