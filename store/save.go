package store

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"gorm.io/gorm"
)

// Save stores the tokens of a successful attempt. Its guards are the generation and the
// refresh token that was presented. The attempt is no guard, so that a late success
// still lands; nor is a status that this program set itself. Save never revives a
// paused or disconnected connection.
//
// A row that a restore or a failover took back takes the tokens too, if no token set
// was stored in it since they were requested: they are the newest there are.
//
// Repeated after a lost reply, Save returns Stored again, but no longer Recovered. It
// writes the ledger line even if the guards refuse the tokens, because the token was
// presented. A missing row is an error of [perennial.CodeNotFound]; a new generation
// that cannot follow the old one or the row's is [perennial.CodeInvalid]. If the row
// learnt meanwhile that the new generation was given out before, Save returns a
// [TakenError] and has written nothing.
func (s *Store) Save(ctx context.Context, req SaveRequest) (SaveResult, error) {
	if err := perennial.CheckGeneration(req.ID, req.Generation, req.NewGeneration); err != nil {
		return SaveResult{}, err
	}
	if saved, ok, err := s.fastSave(ctx, req); ok || err != nil {
		return saved, err
	}
	var saved SaveResult
	found, err := s.locked(ctx, perennial.WorkerAccess(), req.ID, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		if c.Generation == req.NewGeneration && c.RefreshTokenDigest == req.RefreshTokenDigest && bytes.Equal(c.AccessTokenSealed, req.AccessTokenSealed) {
			saved = SaveResult{Stored: true, Connection: c} // already stored; the reply to the caller was lost
			return nil
		}
		taken := takes(c, req)
		if taken {
			if err := checkNext(c, req.NewGeneration); err != nil {
				return err
			}
		}
		if err := appendAttempt(tx, ledgerLine(req.Ledger, req.ID, req.AttemptID)); err != nil {
			return err
		}
		if !taken {
			saved.Connection = c
			return nil
		}
		saved.Stored, saved.Recovered = true, c.Status == perennial.StatusReconnectRequired
		if err := update(tx, c.ID, now, saveColumns(c, req, now)); err != nil {
			return err
		}
		var err error
		if saved.Connection, err = reread(tx, c.ID); err != nil {
			return err
		}
		if err := emitChange(tx, c, saved.Connection, now); err != nil {
			return err
		}
		seam.At(seam.BeforeCommit, c.ID)
		return nil
	})
	if err != nil {
		return SaveResult{}, err
	}
	if !found {
		return SaveResult{}, notFound(req.ID)
	}
	return saved, nil
}

// TakenError is the error for a token set whose generation was given out before the
// database went backwards. The tokens must be sealed again for Next and saved once more.
type TakenError struct {
	ID         string
	Generation int64 // that the set was sealed for
	Next       int64
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("generation %d of connection %s was given out before the database went backwards: the tokens must be sealed for %d", e.Generation, e.ID, e.Next)
}

// checkNext returns an error unless the row may store next as its new generation.
func checkNext(c perennial.Connection, next int64) error {
	if err := c.CheckNext(next); err != nil {
		return err
	}
	if own := c.NextGeneration(); next < own {
		return &TakenError{ID: c.ID, Generation: next, Next: own}
	}
	return nil
}

// takes reports whether c should store the tokens of req.
func takes(c perennial.Connection, req SaveRequest) bool {
	switch {
	case c.Status == perennial.StatusDisconnected:
		return false
	case c.Generation == req.Generation:
		return c.RefreshTokenDigest == req.Digest || seam.Off(seam.DigestGuard)
	default: // both by the database's clock
		return c.Generation < req.Generation && c.LastRefreshedAt.Before(req.Ledger.StartedAt)
	}
}

func saveColumns(c perennial.Connection, req SaveRequest, now time.Time) columns {
	metadata := maps.Clone(c.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	maps.Copy(metadata, req.Metadata)
	set := sealedColumns(req.SealedTokens, req.NewGeneration, now).with(columns{"metadata": metadataText(metadata), "refresh_count": c.RefreshCount + 1})
	if req.TokenType != "" {
		set["token_type"] = req.TokenType
	}
	if req.Scopes != nil {
		set["scopes"] = scopesText(req.Scopes)
	}
	if req.MissingScopes != nil {
		set["missing_scopes"] = scopesText(*req.MissingScopes)
	}
	if !req.RefreshTokenExpiresAt.IsZero() {
		set.with(columns{"refresh_token_expires_at": db.Nullable(req.RefreshTokenExpiresAt)}).with(warnedColumns("idle", c.RefreshTokenExpiresAt, req.RefreshTokenExpiresAt, now))
	}
	if !req.GrantExpiresAt.IsZero() {
		set.with(columns{"grant_expires_at": db.Nullable(req.GrantExpiresAt)}).with(warnedColumns("grant", c.GrantExpiresAt, req.GrantExpiresAt, now))
	}
	if !c.Proven() {
		set["unproven_since"] = nil
	}
	set.noAttempt().noDoubt().failing(c, req.FailingCode, now).with(forcedColumns(c, req.Ledger.Trigger, req.Ledger.StartedAt))
	if !req.AmbiguousSince.IsZero() {
		set.with(columns{"ambiguous_since": db.Nullable(req.AmbiguousSince), "ambiguous_digest": req.RefreshTokenDigest}).hardWait(req.NextAttemptAt)
	}
	if c.Status == perennial.StatusReconnectRequired {
		set["status"], set["reason"] = string(perennial.StatusActive), ""
	}
	return set
}

// sealedColumns returns the columns that every new token set writes.
func sealedColumns(t SealedTokens, generation int64, now time.Time) columns {
	return columns{
		"generation":           generation,
		"access_token_sealed":  t.AccessTokenSealed,
		"refresh_token_sealed": t.RefreshTokenSealed,
		"refresh_token_digest": t.RefreshTokenDigest,
		"expires_at":           db.Nullable(t.ExpiresAt),
		"next_refresh_at":      db.Nullable(t.NextRefreshAt),
		"last_refreshed_at":    db.Nullable(now),
	}
}

// failing sets the health to failing for code. An empty code changes nothing.
func (set columns) failing(c perennial.Connection, code string, now time.Time) columns {
	if code == "" {
		return set
	}
	since := c.FailingSince
	if since.IsZero() {
		since = now
	}
	return set.with(columns{"health": string(perennial.HealthFailing), "failing_code": code, "failing_since": db.Nullable(since)})
}
