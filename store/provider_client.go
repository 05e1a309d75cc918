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

// An app without a client_id uses a client that its authorization server has registered
// (RFC 7591), once for all processes. Every grant belongs to the client that it was made
// with, so a registration is replaced only if nothing works with it any more, or if an
// operator says so.

// ProviderClient is a client that an authorization server has registered for an app.
type ProviderClient struct {
	App, Issuer     string
	Registration    int64  // its number; 0: none yet
	Kind            string // dynamic: the server gave the id; document: the id is a URL of ours
	ClientID        string
	SecretSealed    []byte // empty: a public client
	AuthMethod      string // token_endpoint_auth_method
	RedirectURI     string
	RegisteredAt    time.Time
	SecretExpiresAt time.Time // zero: never
	RejectedAt      time.Time // when the server last rejected it in a consent; zero: never
}

// clientRow is a row of the table provider_clients.
type clientRow struct {
	App             string     `gorm:"column:app;primaryKey"`
	Issuer          string     `gorm:"column:issuer;primaryKey"`
	Registration    int64      `gorm:"column:registration"`
	Kind            string     `gorm:"column:kind"`
	ClientID        string     `gorm:"column:client_id"`
	SecretSealed    []byte     `gorm:"column:secret_sealed"`
	AuthMethod      string     `gorm:"column:auth_method"`
	RedirectURI     string     `gorm:"column:redirect_uri"`
	RegisteredAt    *time.Time `gorm:"column:registered_at"`
	SecretExpiresAt *time.Time `gorm:"column:secret_expires_at"`
	RejectedAt      *time.Time `gorm:"column:rejected_at"`
	ClaimedBy       string     `gorm:"column:claimed_by"`
	ClaimedAt       *time.Time `gorm:"column:claimed_at"`
}

// TableName implements gorm's Tabler.
func (clientRow) TableName() string { return "provider_clients" }

func (r clientRow) client() ProviderClient {
	return ProviderClient{App: r.App, Issuer: r.Issuer, Registration: r.Registration, Kind: r.Kind, ClientID: r.ClientID, SecretSealed: r.SecretSealed, AuthMethod: r.AuthMethod,
		RedirectURI: r.RedirectURI, RegisteredAt: db.Time(r.RegisteredAt), SecretExpiresAt: db.Time(r.SecretExpiresAt), RejectedAt: db.Time(r.RejectedAt)}
}

// ProviderClient returns the client that is registered for an app at an issuer; one whose
// Registration is 0 if none is.
func (s *Store) ProviderClient(ctx context.Context, app, issuer string) (ProviderClient, error) {
	var rows []clientRow
	if err := s.db.With(ctx).Where("app = ? AND issuer = ?", app, issuer).Limit(1).Find(&rows).Error; err != nil {
		return ProviderClient{}, fmt.Errorf("read the registered client of app %s: %w", app, err)
	}
	if len(rows) == 0 {
		return ProviderClient{App: app, Issuer: issuer}, nil
	}
	return rows[0].client(), nil
}

// ClaimRegistration lets one process at a time register a client, in the place of the
// registration with the number after. mine is false if another process does, or has: then
// read the client again. lease is how long it may take.
func (s *Store) ClaimRegistration(ctx context.Context, app, issuer string, after int64, by string, lease time.Duration) (mine bool, err error) {
	err = s.db.Durably(ctx, "claim the registration of app "+app, func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&clientRow{App: app, Issuer: issuer}).Error; err != nil {
			return fmt.Errorf("claim the registration of app %s: %w", app, err)
		}
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		done := tx.Table("provider_clients").Where("app = ? AND issuer = ? AND registration = ? AND (claimed_by = '' OR claimed_by = ? OR claimed_at <= ?)", app, issuer, after, by, db.Nullable(now.Add(-lease))).
			Updates(map[string]any{"claimed_by": by, "claimed_at": db.Nullable(now)})
		mine = done.RowsAffected == 1
		return db.Wrap("claim the registration of app "+app, done.Error)
	})
	return mine, err
}

// SaveRegistration writes what the server has registered. It fails with
// [perennial.CodeConflict] if the caller's claim has ended.
func (s *Store) SaveRegistration(ctx context.Context, c ProviderClient, by string) error {
	return s.db.Durably(ctx, "write the registered client of app "+c.App, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		done := tx.Table("provider_clients").Where("app = ? AND issuer = ? AND registration = ? AND claimed_by = ?", c.App, c.Issuer, c.Registration-1, by).
			Updates(map[string]any{"registration": c.Registration, "kind": c.Kind, "client_id": c.ClientID, "secret_sealed": c.SecretSealed, "auth_method": c.AuthMethod,
				"redirect_uri": c.RedirectURI, "registered_at": db.Nullable(now), "secret_expires_at": db.Nullable(c.SecretExpiresAt), "rejected_at": nil, "claimed_by": "", "claimed_at": nil})
		if done.Error == nil && done.RowsAffected != 1 {
			return perennial.Errorf(perennial.CodeConflict, "app %s: another process has registered a client meanwhile", c.App)
		}
		return db.Wrap("write the registered client of app "+c.App, done.Error)
	})
}

// EndRegistrationClaim gives a claim back whose holder registered nothing.
func (s *Store) EndRegistrationClaim(ctx context.Context, app, issuer, by string) error {
	err := s.db.With(ctx).Table("provider_clients").Where("app = ? AND issuer = ? AND claimed_by = ?", app, issuer, by).
		Updates(map[string]any{"claimed_by": "", "claimed_at": nil}).Error
	return db.Wrap("give the registration of app "+app+" back", err)
}

// NoteClientRejected notes that the server does not know a registration's client. It
// reports whether a new registration harms nobody: no active connection that was made with
// this client is healthy.
func (s *Store) NoteClientRejected(ctx context.Context, c ProviderClient) (unused bool, err error) {
	err = s.db.Durably(ctx, "note a rejected client of app "+c.App, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		err = tx.Table("provider_clients").Where("app = ? AND issuer = ? AND registration = ?", c.App, c.Issuer, c.Registration).Updates(map[string]any{"rejected_at": db.Nullable(now)}).Error
		if err != nil {
			return fmt.Errorf("note a rejected client of app %s: %w", c.App, err)
		}
		var found []int
		digest := perennial.NewSecret(c.ClientID).Digest()
		err = tx.Raw("SELECT 1 FROM connections WHERE app = ? AND client_id_digest = ? AND status = 'active' AND health = 'healthy' LIMIT 1", c.App, digest).Scan(&found).Error
		unused = len(found) == 0
		return db.Wrap("find connections of a rejected client", err)
	})
	return unused, err
}
