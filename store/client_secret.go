package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Of an app with several client secrets the provider accepts one, or two for a while.
// Which one is a fact of the app: it is learnt once and kept here, not found out anew with
// each customer's refresh token. Some servers spend the token before they refuse the
// client.

// clientSecretRow is a row of the table client_secrets. A missing row says that nothing
// was learnt.
type clientSecretRow struct {
	App      string     `gorm:"column:app;primaryKey"`
	Digest   string     `gorm:"column:digest"` // of the accepted secret; empty: nothing was learnt
	LearntAt *time.Time `gorm:"column:learnt_at"`
	TrialBy  string     `gorm:"column:trial_by"` // the connection that tries the other secrets
	TrialAt  *time.Time `gorm:"column:trial_at"`
}

// TableName implements gorm's Tabler.
func (clientSecretRow) TableName() string { return "client_secrets" }

// ClientSecret is what is known about an app's client secrets.
type ClientSecret struct {
	// Digest is that of the secret that the provider accepted after it had rejected
	// another; empty: nothing was learnt.
	Digest string
	// TrialBy is the connection that tries the other secrets, for TrialFor so far; empty:
	// none does.
	TrialBy  string
	TrialFor time.Duration
}

// ClientSecret returns what is known about the app's client secrets.
func (s *Store) ClientSecret(ctx context.Context, app string) (ClientSecret, error) {
	q := s.db.With(ctx)
	var rows []clientSecretRow
	err := q.Where("app = ?", app).Limit(1).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return ClientSecret{}, db.Wrap("read which client secret of app "+app+" is accepted", err)
	}
	out := ClientSecret{Digest: rows[0].Digest, TrialBy: rows[0].TrialBy}
	if out.TrialBy == "" {
		return out, nil
	}
	now, err := s.db.Clock(q)
	out.TrialFor = now.Sub(db.Time(rows[0].TrialAt))
	return out, err
}

// SecretTrialRequest asks to try an app's other client secrets, after the provider has
// rejected one.
type SecretTrialRequest struct {
	Connection perennial.Connection
	Rejected   string   // digest of the rejected secret
	Configured []string // digests of all secrets that the caller has
	// Bare: the rejection was a 401 without a reason. It is about the client only if
	// another connection has got one too.
	Bare  bool
	Lease time.Duration // how long a trial may take
}

// SecretTrial answers a [SecretTrialRequest].
type SecretTrial struct {
	Granted bool   // try the others; tell the result to [Store.EndSecretTrial]
	Digest  string // not granted, because this secret has been learnt meanwhile
	Busy    bool   // not granted, because another connection is trying
}

// bareWindow is how old another connection's bare 401 may be to count.
const bareWindow = 10 * time.Minute

// codeBare401 is the code of a 401 without a reason.
const codeBare401 = "http_401"

// BeginSecretTrial lets one connection of an app at a time try the other client secrets.
func (s *Store) BeginSecretTrial(ctx context.Context, req SecretTrialRequest) (trial SecretTrial, err error) {
	c := req.Connection
	err = s.db.Durably(ctx, "begin to try the client secrets of app "+c.App, func(tx *gorm.DB) error {
		trial = SecretTrial{}
		err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&clientSecretRow{App: c.App}).Error
		if err != nil {
			return fmt.Errorf("note the trial: %w", err)
		}
		var row clientSecretRow
		if err := s.locking(tx).Where("app = ?", c.App).Take(&row).Error; err != nil {
			return fmt.Errorf("read the trial: %w", err)
		}
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		alone, err := bareAlone(tx, req, now)
		if err != nil {
			return err
		}
		if trial = row.decideTrial(req, alone, now); !trial.Granted {
			return nil
		}
		return setClientSecret(tx, c.App, columns{"trial_by": c.ID, "trial_at": db.Nullable(now)})
	})
	return trial, err
}

// bareAlone reports whether the rejection is a bare 401 that no other connection got,
// though there are others.
func bareAlone(tx *gorm.DB, req SecretTrialRequest, now time.Time) (bool, error) {
	if !req.Bare {
		return false, nil
	}
	var found []int
	c := req.Connection
	err := tx.Raw("SELECT 1 FROM failures WHERE app = ? AND connection_id <> ? AND code = ? AND failed_at > ? LIMIT 1",
		c.App, c.ID, codeBare401, db.Nullable(now.Add(-bareWindow))).Scan(&found).Error
	if err == nil && len(found) > 0 {
		return false, nil
	}
	if err == nil {
		err = tx.Raw("SELECT 1 FROM connections WHERE app = ? AND id <> ? AND status = 'active' LIMIT 1", c.App, c.ID).Scan(&found).Error
	}
	if err != nil {
		return false, fmt.Errorf("find another rejection: %w", err)
	}
	return len(found) > 0, nil
}

// decideTrial is pure. alone: the rejection may be the connection's own.
func (r clientSecretRow) decideTrial(req SecretTrialRequest, alone bool, now time.Time) SecretTrial {
	switch {
	case r.Digest != "" && r.Digest != req.Rejected && slices.Contains(req.Configured, r.Digest):
		return SecretTrial{Digest: r.Digest}
	case r.TrialBy != "" && r.TrialBy != req.Connection.ID && db.Time(r.TrialAt).Add(req.Lease).After(now):
		return SecretTrial{Busy: true}
	case alone:
		return SecretTrial{}
	}
	return SecretTrial{Granted: true}
}

// EndSecretTrial ends the trial of a connection. digest names the secret that the
// provider has accepted; empty: none of them.
func (s *Store) EndSecretTrial(ctx context.Context, c perennial.Connection, digest string) error {
	return s.db.Durably(ctx, "note which client secret of app "+c.App+" is accepted", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		set := columns{"trial_by": "", "trial_at": nil}
		if digest != "" {
			return setClientSecret(tx, c.App, set.with(columns{"digest": digest, "learnt_at": db.Nullable(now)}))
		}
		return setClientSecret(tx.Where("trial_by = ?", c.ID), c.App, set)
	})
}

func setClientSecret(tx *gorm.DB, app string, set columns) error {
	if err := tx.Table("client_secrets").Where("app = ?", app).Updates(map[string]any(set)).Error; err != nil {
		return fmt.Errorf("write which client secret is accepted: %w", err)
	}
	return nil
}
