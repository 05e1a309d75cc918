package connect

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// AwaitFinish saves the sealed reply of a bound session until the product asks to finish
// it, or the wait is over.
func (s *SessionStore) AwaitFinish(ctx context.Context, c perennial.ConnectSession, sealed []byte, account string, wait time.Duration) error {
	return s.writeSession(ctx, c.ID, "starts = ? AND challenge <> '' AND answered_at IS NOT NULL AND finish_asked_at IS NULL AND outcome <> 'connected'",
		func(time.Time) []any { return []any{c.Starts} },
		func(now time.Time) map[string]any {
			return map[string]any{"reply_sealed": sealed, "reply_at": db.Nullable(c.ReplyAt), "account_id": account, "tries": 0, "lease_until": db.Nullable(now.Add(wait)),
				"outcome": string(perennial.ConnectAwaitingFinish)}
		})
}

// AskFinish takes a waiting session for its product, once. The caller then stores the
// grant within lease. The second caller, and one that comes after the wait, gets an error
// of [perennial.CodeConflict].
func (s *SessionStore) AskFinish(ctx context.Context, id string, starts int64, lease time.Duration) (perennial.ConnectSession, error) {
	err := s.writeSession(ctx, id, "starts = ? AND reply_sealed IS NOT NULL AND outcome = 'awaiting_finish' AND lease_until > ?",
		func(now time.Time) []any { return []any{starts, db.Nullable(now)} },
		func(now time.Time) map[string]any {
			return map[string]any{"finish_asked_at": db.Nullable(now), "tries": 1, "lease_until": db.Nullable(now.Add(lease)), "outcome": string(perennial.ConnectUnfinished)}
		})
	if err != nil {
		return perennial.ConnectSession{}, err
	}
	c, _, err := s.ByID(ctx, id)
	return c, err
}

// NoteFinishTry counts a wrong verifier. At the last of most tries the wait is over.
func (s *SessionStore) NoteFinishTry(ctx context.Context, id string, starts int64, most int) error {
	return s.writeSession(ctx, id, "starts = ? AND outcome = 'awaiting_finish'",
		func(time.Time) []any { return []any{starts} },
		func(now time.Time) map[string]any {
			return map[string]any{"finish_tries": gorm.Expr("finish_tries + 1"),
				"lease_until": gorm.Expr("CASE WHEN finish_tries + 1 >= ? AND lease_until > ? THEN ? ELSE lease_until END", most, db.Nullable(now), db.Nullable(now))}
		})
}

// unrevokedKept is how long a session stays whose grant may live on at the provider.
const unrevokedKept = 30 * 24 * time.Hour

// Unrevoked returns sessions that were not finished and whose grant may live on at the
// provider, those that expired last first.
func (s *SessionStore) Unrevoked(ctx context.Context, limit int) ([]perennial.ConnectSession, error) {
	var rows []sessionRow
	err := s.db.With(ctx).Where("revocation IN ('failed', 'unsupported')").Order("expires_at DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the connect sessions whose grant was not revoked: %w", err)
	}
	var out []perennial.ConnectSession
	for _, r := range rows {
		out = append(out, r.session())
	}
	return out, nil
}
