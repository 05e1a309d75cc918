package connect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// SessionStore keeps connect sessions. A write whose guard no longer matches is an error
// of [perennial.CodeConflict]. It is safe for concurrent use by many processes.
type SessionStore struct{ db *db.DB }

// NewSessionStore returns the store of an open database.
func NewSessionStore(d *db.DB) *SessionStore { return &SessionStore{db: d} }

// Now returns the database's clock, in UTC.
func (s *SessionStore) Now(ctx context.Context) (time.Time, error) { return s.db.Now(ctx) }

// sessionRow is a row of the table connect_sessions.
type sessionRow struct {
	ID             string     `gorm:"column:id;primaryKey"`
	TenantID       string     `gorm:"column:tenant_id"`
	TenantTitle    string     `gorm:"column:tenant_title"`
	App            string     `gorm:"column:app"`
	ConnectionID   string     `gorm:"column:connection_id"`
	Host           string     `gorm:"column:host"`
	ReturnURL      string     `gorm:"column:return_url"`
	Mode           string     `gorm:"column:mode"`
	Scopes         string     `gorm:"column:scopes"`
	LinkDigest     string     `gorm:"column:link_digest"`
	Starts         int64      `gorm:"column:starts"`
	StateDigest    *string    `gorm:"column:state_digest"`
	BrowserDigest  string     `gorm:"column:browser_digest"`
	VerifierSealed []byte     `gorm:"column:verifier_sealed"`
	AnsweredAt     *time.Time `gorm:"column:answered_at"`
	ReplySealed    []byte     `gorm:"column:reply_sealed"`
	ReplyAt        *time.Time `gorm:"column:reply_at"`
	Tries          int        `gorm:"column:tries"`
	Challenge      string     `gorm:"column:challenge"`
	CodeDigest     string     `gorm:"column:finish_code_digest"`
	FinishTries    int        `gorm:"column:finish_tries"`
	FinishAskedAt  *time.Time `gorm:"column:finish_asked_at"`
	AccountID      string     `gorm:"column:account_id"`
	Revocation     string     `gorm:"column:revocation"`
	Outcome        string     `gorm:"column:outcome"`
	MissingScopes  string     `gorm:"column:missing_scopes"`
	ResultID       string     `gorm:"column:result_id"`
	CreatedAt      *time.Time `gorm:"column:created_at;autoCreateTime:false"`
	ExpiresAt      *time.Time `gorm:"column:expires_at"`
}

// TableName implements gorm's Tabler.
func (sessionRow) TableName() string { return "connect_sessions" }

func (r sessionRow) session() perennial.ConnectSession {
	s := perennial.ConnectSession{ID: r.ID, TenantID: r.TenantID, TenantTitle: r.TenantTitle, App: r.App, ConnectionID: r.ConnectionID, Host: r.Host,
		ReturnURL: r.ReturnURL, Mode: perennial.ConnectMode(r.Mode), Scopes: strings.Fields(r.Scopes),
		LinkDigest: r.LinkDigest, Starts: r.Starts, BrowserDigest: r.BrowserDigest, VerifierSealed: r.VerifierSealed, AnsweredAt: db.Time(r.AnsweredAt),
		ReplySealed: r.ReplySealed, ReplyAt: db.Time(r.ReplyAt), Tries: r.Tries,
		Challenge: r.Challenge, FinishCodeDigest: r.CodeDigest, FinishTries: r.FinishTries, FinishAskedAt: db.Time(r.FinishAskedAt),
		AccountID: r.AccountID, Revocation: perennial.Revocation(r.Revocation),
		Outcome: perennial.ConnectOutcome(r.Outcome), Missing: strings.Fields(r.MissingScopes), ResultID: r.ResultID,
		CreatedAt: db.Time(r.CreatedAt), ExpiresAt: db.Time(r.ExpiresAt)}
	if r.StateDigest != nil {
		s.StateDigest = *r.StateDigest
	}
	return s
}

// Add writes a new connect session that lives for life from now, and returns it
// as stored.
func (s *SessionStore) Add(ctx context.Context, c perennial.ConnectSession, life time.Duration) (perennial.ConnectSession, error) {
	err := s.db.Durably(ctx, "write connect session "+c.ID, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		now = now.UTC().Truncate(time.Microsecond)
		ends := now.Add(life).Truncate(time.Microsecond)
		set := map[string]any{"id": c.ID, "tenant_id": c.TenantID, "tenant_title": c.TenantTitle, "app": c.App, "connection_id": c.ConnectionID, "host": c.Host,
			"return_url": c.ReturnURL, "mode": string(c.Mode), "scopes": strings.Join(c.Scopes, " "), "challenge": c.Challenge, "link_digest": c.LinkDigest, "created_at": now, "expires_at": ends}
		if err := tx.Table("connect_sessions").Create(set).Error; err != nil {
			return fmt.Errorf("write connect session %s: %w", c.ID, err)
		}
		var r sessionRow
		if err := tx.Where("id = ?", c.ID).Take(&r).Error; err != nil {
			return fmt.Errorf("read connect session %s: %w", c.ID, err)
		}
		c = r.session()
		return nil
	})
	return c, err
}

// ByID returns a session and the database's clock. A missing session is an error
// of [perennial.CodeNotFound], here and below.
func (s *SessionStore) ByID(ctx context.Context, id string) (perennial.ConnectSession, time.Time, error) {
	return s.session(ctx, "id = ?", id)
}

// ByLink finds a session by the digest of its link's token.
func (s *SessionStore) ByLink(ctx context.Context, digest string) (perennial.ConnectSession, time.Time, error) {
	return s.session(ctx, "link_digest = ?", digest)
}

// ByState finds a session by the digest of its newest state.
func (s *SessionStore) ByState(ctx context.Context, digest string) (perennial.ConnectSession, time.Time, error) {
	return s.session(ctx, "state_digest = ?", digest)
}

func (s *SessionStore) session(ctx context.Context, where, value string) (perennial.ConnectSession, time.Time, error) {
	var rows []sessionRow
	q := s.db.With(ctx)
	if value != "" { // an empty digest matches no session
		if err := q.Where(where, value).Limit(1).Find(&rows).Error; err != nil {
			return perennial.ConnectSession{}, time.Time{}, fmt.Errorf("read a connect session: %w", err)
		}
	}
	if len(rows) == 0 {
		return perennial.ConnectSession{}, time.Time{}, perennial.Errorf(perennial.CodeNotFound, "there is no such connect session")
	}
	now, err := s.db.Clock(q)
	return rows[0].session(), now, err
}

// Digests returns the digests of the links and the newest states of all stored
// sessions.
func (s *SessionStore) Digests(ctx context.Context) ([]string, error) {
	var all []string
	err := s.db.With(ctx).Raw("SELECT link_digest FROM connect_sessions UNION ALL SELECT state_digest FROM connect_sessions WHERE state_digest IS NOT NULL").Scan(&all).Error
	return all, db.Wrap("read the digests of the connect sessions", err)
}

// request is what the store keeps of an authorization request.
type request struct {
	StateDigest, BrowserDigest string
	CodeDigest                 string // of a bound session
	VerifierSealed             []byte
}

// Start replaces a session's authorization request by a new one. Its guard is
// the number of requests so far. If the session is done, has expired or holds a reply,
// it returns an error of [perennial.CodeConflict].
func (s *SessionStore) Start(ctx context.Context, id string, starts int64, r request) error {
	return s.writeSession(ctx, id, "starts = ? AND reply_sealed IS NULL AND outcome <> 'connected' AND expires_at > ?",
		func(now time.Time) []any { return []any{starts, db.Nullable(now)} },
		func(time.Time) map[string]any {
			return map[string]any{"starts": starts + 1, "state_digest": r.StateDigest, "browser_digest": r.BrowserDigest, "verifier_sealed": r.VerifierSealed,
				"finish_code_digest": r.CodeDigest, "finish_tries": 0, "finish_asked_at": nil, "answered_at": nil, "outcome": "", "missing_scopes": ""}
		})
}

// ConsumeState consumes the newest state, once, and wipes the verifier. The second
// caller gets an error of [perennial.CodeConflict].
func (s *SessionStore) ConsumeState(ctx context.Context, id string, starts int64) error {
	return s.writeSession(ctx, id, "starts = ? AND answered_at IS NULL AND expires_at > ?",
		func(now time.Time) []any { return []any{starts, db.Nullable(now)} },
		func(now time.Time) map[string]any {
			return map[string]any{"answered_at": db.Nullable(now), "verifier_sealed": nil}
		})
}

// MoveHost changes the account's host of a session whose state was just consumed.
func (s *SessionStore) MoveHost(ctx context.Context, id string, starts int64, host string) error {
	return s.writeSession(ctx, id, "starts = ? AND answered_at IS NOT NULL AND reply_sealed IS NULL",
		func(time.Time) []any { return []any{starts} },
		func(time.Time) map[string]any { return map[string]any{"host": host} })
}

// NoteRefusal writes the outcome of a request whose state was not sent back. The state
// stays good.
func (s *SessionStore) NoteRefusal(ctx context.Context, id string, starts int64, outcome perennial.ConnectOutcome) error {
	return s.writeSession(ctx, id, "starts = ? AND answered_at IS NULL AND reply_sealed IS NULL AND outcome <> 'connected'",
		func(time.Time) []any { return []any{starts} },
		func(time.Time) map[string]any { return map[string]any{"outcome": string(outcome)} })
}

// SaveReply saves the sealed token reply to the newest request. The caller then stores
// the grant within lease.
func (s *SessionStore) SaveReply(ctx context.Context, id string, starts int64, sealed []byte, at time.Time, lease time.Duration) error {
	return s.writeSession(ctx, id, "starts = ? AND answered_at IS NOT NULL AND reply_sealed IS NULL",
		func(time.Time) []any { return []any{starts} },
		func(now time.Time) map[string]any {
			return map[string]any{"reply_sealed": sealed, "reply_at": db.Nullable(at), "tries": 1, "lease_until": db.Nullable(now.Add(lease)),
				"outcome": string(perennial.ConnectUnfinished)}
		})
}

// AwaitChoice saves the sealed reply, whose grant reaches several accounts, until
// somebody chooses one with SaveChoice, or the wait is over.
func (s *SessionStore) AwaitChoice(ctx context.Context, id string, starts int64, sealed []byte, at time.Time, wait time.Duration) error {
	return s.writeSession(ctx, id, "starts = ? AND answered_at IS NOT NULL AND outcome <> 'connected'",
		func(time.Time) []any { return []any{starts} },
		func(now time.Time) map[string]any {
			return map[string]any{"reply_sealed": sealed, "reply_at": db.Nullable(at), "tries": 0, "lease_until": db.Nullable(now.Add(wait)),
				"outcome": string(perennial.ConnectChooseAccount)}
		})
}

// SaveChoice saves the sealed reply with the chosen account. The caller then stores the
// grant within lease. The second caller, and one that comes after the wait, gets an error
// of [perennial.CodeConflict].
func (s *SessionStore) SaveChoice(ctx context.Context, id string, starts int64, sealed []byte, lease time.Duration) error {
	return s.writeSession(ctx, id, "starts = ? AND reply_sealed IS NOT NULL AND outcome = 'choose_account' AND lease_until > ?",
		func(now time.Time) []any { return []any{starts, db.Nullable(now)} },
		func(now time.Time) map[string]any {
			return map[string]any{"reply_sealed": sealed, "tries": 1, "lease_until": db.Nullable(now.Add(lease)), "outcome": string(perennial.ConnectUnfinished)}
		})
}

// Lease leases the saved reply to one caller, which stores the grant. Until the
// lease ends, others get an error of [perennial.CodeConflict].
func (s *SessionStore) Lease(ctx context.Context, id string, lease time.Duration) (perennial.ConnectSession, error) {
	err := s.writeSession(ctx, id, "reply_sealed IS NOT NULL AND (lease_until IS NULL OR lease_until <= ?)",
		func(now time.Time) []any { return []any{db.Nullable(now)} },
		func(now time.Time) map[string]any {
			return map[string]any{"tries": gorm.Expr("tries + 1"), "lease_until": db.Nullable(now.Add(lease))}
		})
	if err != nil {
		return perennial.ConnectSession{}, err
	}
	c, _, err := s.ByID(ctx, id)
	return c, err
}

// Release makes a lease end after wait, because storing the grant failed.
func (s *SessionStore) Release(ctx context.Context, id string, starts int64, wait time.Duration) error {
	return s.writeSession(ctx, id, "starts = ? AND reply_sealed IS NOT NULL",
		func(time.Time) []any { return []any{starts} },
		func(now time.Time) map[string]any { return map[string]any{"lease_until": db.Nullable(now.Add(wait))} })
}

// Finish writes the outcome of the newest request and wipes its secrets. result
// is the id of the stored connection, if any.
func (s *SessionStore) Finish(ctx context.Context, c perennial.ConnectSession, outcome perennial.ConnectOutcome, missing []string, result string) error {
	return s.writeSession(ctx, c.ID, "starts = ? AND outcome <> 'connected'",
		func(time.Time) []any { return []any{c.Starts} },
		func(now time.Time) map[string]any {
			return map[string]any{"outcome": string(outcome), "missing_scopes": strings.Join(missing, " "), "result_id": result,
				"revocation": string(c.Revocation), "verifier_sealed": nil, "reply_sealed": nil, "lease_until": nil}
		})
}

// writeSession writes the columns that set returns, if the row matches guard. args and
// set receive the database's clock.
func (s *SessionStore) writeSession(ctx context.Context, id, guard string, args func(now time.Time) []any, set func(now time.Time) map[string]any) error {
	return s.db.Durably(ctx, "write connect session "+id, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		result := tx.Table("connect_sessions").Where("id = ?", id).Where(guard, args(now)...).Updates(set(now))
		if result.Error != nil {
			return fmt.Errorf("write connect session %s: %w", id, result.Error)
		}
		if result.RowsAffected == 0 {
			return perennial.Errorf(perennial.CodeConflict, "connect session %s has moved on, or has expired", id)
		}
		return nil
	})
}

// Unfinished returns the sessions with a saved reply and no lease, oldest
// first.
func (s *SessionStore) Unfinished(ctx context.Context, limit int) ([]perennial.ConnectSession, error) {
	now, err := s.db.Now(ctx)
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	err = s.db.With(ctx).Where("reply_sealed IS NOT NULL AND (lease_until IS NULL OR lease_until <= ?)", db.Nullable(now)).
		Order("lease_until, id").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the unfinished connect sessions: %w", err)
	}
	var out []perennial.ConnectSession
	for _, r := range rows {
		out = append(out, r.session())
	}
	return out, nil
}

// Prune deletes at most limit sessions that expired more than retention ago, but none
// with a saved reply. One whose grant may live on at the provider stays for longer: see
// [SessionStore.Unrevoked].
func (s *SessionStore) Prune(ctx context.Context, retention time.Duration, limit int) (int64, error) {
	now, err := s.db.Now(ctx)
	if err != nil {
		return 0, err
	}
	result := s.db.With(ctx).Exec("DELETE FROM connect_sessions WHERE id IN (SELECT id FROM connect_sessions WHERE expires_at <= ? AND reply_sealed IS NULL AND (revocation NOT IN ('failed', 'unsupported') OR expires_at <= ?) LIMIT ?)",
		db.Nullable(now.Add(-retention)), db.Nullable(now.Add(-max(retention, unrevokedKept))), limit)
	if result.Error != nil {
		return 0, fmt.Errorf("delete old connect sessions: %w", result.Error)
	}
	return result.RowsAffected, nil
}
