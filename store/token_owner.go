package store

import (
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// A refresh token in two connections is one grant that two workflows rotate: each would
// take the other's tokens away. So a token set that comes from outside (a consent, an
// import, a caller) belongs to one live connection of its app, in whichever tenant. A
// refresh never asks: what a provider gives is stored.

// TokenInUseError is the error for a refresh token that another live connection of the app
// came with. It says nothing about that connection, which may be another tenant's.
type TokenInUseError struct{ App string }

func (e *TokenInUseError) Error() string {
	return fmt.Sprintf("this refresh token is in use by another connection of app %q already, and only one of them could renew it: make a grant of its own by a new consent, or disconnect the other connection first", e.App)
}

// Unwrap makes it an error of [perennial.CodeConflict].
func (e *TokenInUseError) Unwrap() error {
	return perennial.Errorf(perennial.CodeConflict, "the refresh token is in use")
}

// tokenOwner is a row of token_owners.
type tokenOwner struct {
	ConnectionID string `gorm:"column:connection_id"`
	Status       string `gorm:"column:status"` // of the connection; empty: it has no row
}

// own makes c the owner of the refresh token that w stores in it, and of no other.
func own(tx *gorm.DB, c perennial.Connection, w TokenWrite, now time.Time) error {
	if !w.Sole || w.RefreshTokenDigest == "" {
		return disown(tx, c.ID, "")
	}
	if err := disown(tx, c.ID, w.RefreshTokenDigest); err != nil {
		return err
	}
	at := db.Nullable(now)
	inserted := tx.Exec(`INSERT INTO token_owners (app, digest, connection_id, account_id, owned_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (app, digest) DO NOTHING`,
		c.App, w.RefreshTokenDigest, c.ID, c.AccountID, at)
	if inserted.Error != nil || inserted.RowsAffected == 1 {
		return db.Wrap("note whose a refresh token is", inserted.Error)
	}
	var owner tokenOwner
	err := tx.Raw(`SELECT o.connection_id, coalesce(c.status, '') AS status FROM token_owners o LEFT JOIN connections c ON c.id = o.connection_id
		WHERE o.app = ? AND o.digest = ?`, c.App, w.RefreshTokenDigest).Scan(&owner).Error
	if err != nil {
		return db.Wrap("look whose a refresh token is", err)
	}
	if live := owner.Status != "" && owner.Status != string(perennial.StatusDisconnected); live && owner.ConnectionID != c.ID {
		return &TokenInUseError{App: c.App}
	}
	taken := tx.Exec(`UPDATE token_owners SET connection_id = ?, account_id = ?, owned_at = ? WHERE app = ? AND digest = ? AND connection_id = ?`,
		c.ID, c.AccountID, at, c.App, w.RefreshTokenDigest, owner.ConnectionID)
	if taken.Error == nil && taken.RowsAffected == 0 { // another writer took it at this moment
		return &TokenInUseError{App: c.App}
	}
	return db.Wrap("note whose a refresh token is", taken.Error)
}

// disown ends the ownership of a connection over every refresh token but keep.
func disown(tx *gorm.DB, id, keep string) error {
	return db.Wrap("end the ownership of connection "+id, tx.Exec("DELETE FROM token_owners WHERE connection_id = ? AND digest <> ?", id, keep).Error)
}

// GrantReplaced reports whether c has the oldest grant of its account in its app, and a
// newer one was made since the last time that c worked, which works: if the provider
// limits the grants of a user and client, that is what ends the oldest.
func (s *Store) GrantReplaced(ctx context.Context, c perennial.Connection) (bool, error) {
	var found struct{ Older, Newer int64 }
	err := s.db.With(ctx).Raw(`SELECT
		coalesce(sum(CASE WHEN o.owned_at < own.owned_at THEN 1 ELSE 0 END), 0) AS older,
		coalesce(sum(CASE WHEN o.owned_at > ? AND c.status = 'active' AND c.suspect_since IS NULL THEN 1 ELSE 0 END), 0) AS newer
		FROM token_owners own JOIN token_owners o ON o.app = own.app AND o.account_id = own.account_id AND o.connection_id <> own.connection_id
		JOIN connections c ON c.id = o.connection_id AND c.status <> 'disconnected'
		WHERE own.connection_id = ?`, db.Nullable(latest(c.LastRefreshedAt, c.CreatedAt)), c.ID).Scan(&found).Error
	if err != nil {
		return false, fmt.Errorf("look for newer grants of the account of connection %s: %w", c.ID, err)
	}
	return found.Newer > 0 && found.Older == 0, nil
}
