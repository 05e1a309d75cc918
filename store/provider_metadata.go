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

// An app whose provider describes itself uses the metadata that were read first. They are
// pinned here, for every process and every start. What the provider shows later waits
// beside them until an operator accepts it.

// ProviderMetadata is what is pinned for one app and one source.
type ProviderMetadata struct {
	App        string
	Source     string // the issuer or the MCP server, as the configuration names it
	Document   string // in use
	ReadAt     time.Time
	AcceptedAt time.Time // by an operator; zero: the first that were read
	Changed    string    // what the provider shows now, if that differs
	ChangedAt  time.Time // since when
	CheckedAt  time.Time // when the provider last answered
	Problem    string    // of the last check; empty: the provider answered
	ProblemAt  time.Time // since when
}

// metadataRow is a row of the table provider_metadata.
type metadataRow struct {
	App         string     `gorm:"column:app;primaryKey"`
	Source      string     `gorm:"column:source;primaryKey"`
	Document    string     `gorm:"column:document"`
	ReadAt      *time.Time `gorm:"column:read_at"`
	AcceptedAt  *time.Time `gorm:"column:accepted_at"`
	Changed     string     `gorm:"column:changed"`
	ChangedAt   *time.Time `gorm:"column:changed_at"`
	CheckedAt   *time.Time `gorm:"column:checked_at"`
	NextCheckAt *time.Time `gorm:"column:next_check_at"`
	Problem     string     `gorm:"column:problem"`
	ProblemAt   *time.Time `gorm:"column:problem_at"`
}

// TableName implements gorm's Tabler.
func (metadataRow) TableName() string { return "provider_metadata" }

func (r metadataRow) metadata() ProviderMetadata {
	return ProviderMetadata{App: r.App, Source: r.Source, Document: r.Document, ReadAt: db.Time(r.ReadAt), AcceptedAt: db.Time(r.AcceptedAt),
		Changed: r.Changed, ChangedAt: db.Time(r.ChangedAt), CheckedAt: db.Time(r.CheckedAt), Problem: r.Problem, ProblemAt: db.Time(r.ProblemAt)}
}

// ProviderMetadata returns what is pinned for an app and a source. If nothing is, the
// error is of [perennial.CodeNotFound].
func (s *Store) ProviderMetadata(ctx context.Context, app, source string) (ProviderMetadata, error) {
	r, err := readMetadata(s.db.With(ctx), app, source)
	return r.metadata(), err
}

func readMetadata(tx *gorm.DB, app, source string) (metadataRow, error) {
	var rows []metadataRow
	if err := tx.Where("app = ? AND source = ?", app, source).Limit(1).Find(&rows).Error; err != nil {
		return metadataRow{}, fmt.Errorf("read the metadata of app %s: %w", app, err)
	}
	if len(rows) == 0 {
		return metadataRow{}, perennial.Errorf(perennial.CodeNotFound, "app %s: what its provider says about itself has never been read", app)
	}
	return rows[0], nil
}

// AllProviderMetadata returns everything that is pinned, in the order of apps and sources.
func (s *Store) AllProviderMetadata(ctx context.Context) ([]ProviderMetadata, error) {
	var rows []metadataRow
	if err := s.db.With(ctx).Order("app, source").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the metadata of all apps: %w", err)
	}
	out := make([]ProviderMetadata, len(rows))
	for i, r := range rows {
		out[i] = r.metadata()
	}
	return out, nil
}

// PinProviderMetadata pins a document, unless another process was first, and returns what
// is pinned. The next check is due after next.
func (s *Store) PinProviderMetadata(ctx context.Context, app, source, document string, next time.Duration) (pinned ProviderMetadata, err error) {
	err = s.db.Durably(ctx, "pin the metadata of app "+app, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		due := now.Add(next)
		first := metadataRow{App: app, Source: source, Document: document, ReadAt: &now, CheckedAt: &now, NextCheckAt: &due}
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&first).Error; err != nil {
			return fmt.Errorf("pin the metadata of app %s: %w", app, err)
		}
		r, err := readMetadata(tx, app, source)
		pinned = r.metadata()
		return err
	})
	return pinned, err
}

// ClaimMetadataCheck reports whether a check is due, and leaves it to the caller: the next
// one is due after again, unless [Store.NoteMetadataCheck] says another time.
func (s *Store) ClaimMetadataCheck(ctx context.Context, app, source string, again time.Duration) (mine bool, err error) {
	err = s.db.Durably(ctx, "claim a check of app "+app, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		done := tx.Table("provider_metadata").Where("app = ? AND source = ? AND next_check_at <= ?", app, source, db.Nullable(now)).
			Updates(map[string]any{"next_check_at": db.Nullable(now.Add(again))})
		mine = done.RowsAffected == 1
		return db.Wrap("claim the check", done.Error)
	})
	return mine, err
}

// MetadataCheck is the result of a check.
type MetadataCheck struct {
	App, Source string
	Pinned      string        // the document that was compared
	Changed     string        // what the provider shows now, if that differs
	Problem     string        // why nothing could be read; then Changed does not count
	Next        time.Duration // when the next check is due
}

// NoteMetadataCheck writes the result of a check. news reports whether a change, or a
// problem, was not known before. If somebody has accepted other metadata meanwhile, it
// writes nothing.
func (s *Store) NoteMetadataCheck(ctx context.Context, c MetadataCheck) (news bool, err error) {
	err = s.db.Durably(ctx, "note a check of app "+c.App, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		r, err := readMetadata(s.locking(tx), c.App, c.Source)
		if err != nil || r.Document != c.Pinned {
			return err
		}
		set := columns{"next_check_at": db.Nullable(now.Add(c.Next)), "problem": c.Problem}
		if c.Problem != "" {
			if news = r.Problem == ""; news {
				set["problem_at"] = db.Nullable(now)
			}
		} else {
			set = set.with(columns{"problem_at": nil, "checked_at": db.Nullable(now)})
			if c.Changed != r.Changed {
				news = c.Changed != ""
				set = set.with(columns{"changed": c.Changed, "changed_at": nil})
				if news {
					set["changed_at"] = db.Nullable(now)
				}
			}
		}
		return setMetadata(tx, c.App, c.Source, set)
	})
	return news, err
}

// AcceptProviderMetadata takes the change that the caller has seen into use. If another
// change waits by now, or none, the error is of [perennial.CodeConflict].
func (s *Store) AcceptProviderMetadata(ctx context.Context, app, source, seen string) error {
	return s.db.Durably(ctx, "accept the metadata of app "+app, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		r, err := readMetadata(s.locking(tx), app, source)
		if err != nil {
			return err
		}
		if seen == "" || r.Changed != seen {
			return perennial.Errorf(perennial.CodeConflict, "app %s: another change waits by now, or none: look again", app)
		}
		return setMetadata(tx, app, source, columns{"document": seen, "read_at": r.ChangedAt, "accepted_at": db.Nullable(now), "changed": "", "changed_at": nil})
	})
}

func setMetadata(tx *gorm.DB, app, source string, set columns) error {
	if err := tx.Table("provider_metadata").Where("app = ? AND source = ?", app, source).Updates(map[string]any(set)).Error; err != nil {
		return fmt.Errorf("write the metadata of app %s: %w", app, err)
	}
	return nil
}
