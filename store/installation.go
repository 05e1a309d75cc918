package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
)

// Installation says which database this is and which Temporals refresh its connections.
type Installation struct {
	DatabaseID string `json:"database_id"` // empty: `perennial setup` has not written one
	// Number rises with each sweep, here and then in Temporal. If Temporal has a higher
	// one, the database went backwards.
	Number   int64     `json:"number"`
	Bindings []Binding `json:"bindings"`
}

// Binding is one Temporal that refreshes the database's connections.
type Binding struct {
	ClusterID   string    `json:"cluster_id"` // empty if the server does not say it
	NamespaceID string    `json:"namespace_id"`
	TaskQueue   string    `json:"task_queue"`
	Namespace   string    `json:"namespace"` // its name, for people
	BoundAt     time.Time `json:"bound_at"`
	VerifiedAt  time.Time `json:"verified_at"` // when a process last saw both ids
}

var bindings = table[Binding]{"bindings", []column[Binding]{
	text("cluster_id", func(b *Binding) *string { return &b.ClusterID }),
	text("namespace_id", func(b *Binding) *string { return &b.NamespaceID }),
	text("task_queue", func(b *Binding) *string { return &b.TaskQueue }),
	text("namespace", func(b *Binding) *string { return &b.Namespace }),
	instant("bound_at", func(b *Binding) *time.Time { return &b.BoundAt }),
	instant("verified_at", func(b *Binding) *time.Time { return &b.VerifiedAt }),
}}

// Find returns the binding of a namespace and task queue.
func (i Installation) Find(namespaceID, taskQueue string) (Binding, bool) {
	at := slices.IndexFunc(i.Bindings, func(b Binding) bool { return b.NamespaceID == namespaceID && b.TaskQueue == taskQueue })
	if at < 0 {
		return Binding{}, false
	}
	return i.Bindings[at], true
}

// Installation reads the database's id, number and bindings.
func (s *Store) Installation(ctx context.Context) (Installation, error) {
	out, err := readInstallation(s.db.With(ctx))
	return out, db.Wrap("read the installation's id", err)
}

func readInstallation(q *gorm.DB) (out Installation, err error) {
	if out.DatabaseID, out.Number, err = readNumber(q); err != nil {
		return out, err
	}
	out.Bindings, err = bindings.find(q.Order("bound_at, namespace_id, task_queue"))
	return out, err
}

// InstallationNumber returns the database's id and number.
func (s *Store) InstallationNumber(ctx context.Context) (id string, number int64, err error) {
	id, number, err = readNumber(s.db.With(ctx))
	return id, number, db.Wrap("read the installation's number", err)
}

func readNumber(q *gorm.DB) (id string, number int64, err error) {
	var row struct {
		DatabaseID string
		Number     int64
	}
	err = q.Raw("SELECT database_id, number FROM installation").Scan(&row).Error
	return row.DatabaseID, row.Number, err
}

// Bind gives the database an id, unless it has one, and adds a binding. It may be
// repeated. With adopt, the database gets a new id and loses its other bindings: what
// knew it by the old id presents nothing any more.
func (s *Store) Bind(ctx context.Context, b Binding, adopt bool) (out Installation, err error) {
	err = s.db.Durably(ctx, "bind the database to Temporal", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		at := db.Nullable(now)
		statements := []statement{{"INSERT INTO installation (one, database_id, number, created_at, updated_at) VALUES (1, ?, 0, ?, ?) ON CONFLICT (one) DO NOTHING", []any{uuid.NewString(), at, at}}}
		if adopt {
			statements = append(statements, statement{"UPDATE installation SET database_id = ?, updated_at = ?", []any{uuid.NewString(), at}},
				statement{"DELETE FROM bindings", nil}, statement{"DELETE FROM verified_addresses", nil})
		}
		for _, st := range statements {
			if err := tx.Exec(st.sql, st.args...).Error; err != nil {
				return fmt.Errorf("bind the database to Temporal: %w", err)
			}
		}
		b.BoundAt, b.VerifiedAt = now, now
		err = bindings.insert(tx, b, "ON CONFLICT (namespace_id, task_queue) DO UPDATE SET cluster_id = excluded.cluster_id, namespace = excluded.namespace, verified_at = excluded.verified_at")
		if err != nil {
			return fmt.Errorf("bind the database to Temporal: %w", err)
		}
		out, err = readInstallation(tx)
		return err
	})
	return out, err
}

type statement struct {
	sql  string
	args []any
}

// NoteVerified records that a process saw both ids of a binding through an address.
func (s *Store) NoteVerified(ctx context.Context, address string, b Binding) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	at := db.Nullable(now)
	q := s.db.With(ctx)
	err = q.Exec("UPDATE bindings SET verified_at = ?, cluster_id = ? WHERE namespace_id = ? AND task_queue = ?", at, b.ClusterID, b.NamespaceID, b.TaskQueue).Error
	if err == nil {
		err = q.Exec(`INSERT INTO verified_addresses (address, namespace, task_queue, namespace_id, verified_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (address, namespace, task_queue) DO UPDATE SET namespace_id = excluded.namespace_id, verified_at = excluded.verified_at`,
			address, b.Namespace, b.TaskQueue, b.NamespaceID, at).Error
	}
	return db.Wrap("note the verified binding", err)
}

// VerifiedBefore reports whether a process once saw both ids through this address,
// namespace and task queue, and the binding still exists.
func (s *Store) VerifiedBefore(ctx context.Context, address, namespace, taskQueue string) (bool, error) {
	var n int64
	err := s.db.With(ctx).Raw(`SELECT count(*) FROM verified_addresses AS v JOIN bindings AS b ON b.namespace_id = v.namespace_id AND b.task_queue = v.task_queue
		WHERE v.address = ? AND v.namespace = ? AND v.task_queue = ?`, address, namespace, taskQueue).Scan(&n).Error
	return n > 0, db.Wrap("read the verified bindings", err)
}

// RaiseNumber raises the database's number by one and returns it. temporal is the number
// that Temporal has: if the database's is lower, nothing changes, and the error has
// [perennial.CodeConflict].
func (s *Store) RaiseNumber(ctx context.Context, databaseID string, temporal int64) (number int64, err error) {
	err = s.db.Durably(ctx, "raise the installation's number", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		var raised []int64
		err = tx.Raw("UPDATE installation SET number = number + 1, updated_at = ? WHERE database_id = ? AND number >= ? RETURNING number", db.Nullable(now), databaseID, temporal).Scan(&raised).Error
		if err != nil {
			return fmt.Errorf("raise the installation's number: %w", err)
		}
		if len(raised) == 0 {
			return perennial.Errorf(perennial.CodeConflict, "the database's number is below Temporal's %d, or its id is no longer %s", temporal, databaseID)
		}
		number = raised[0]
		return nil
	})
	return number, err
}

const (
	// restoredStep is how far a restore raises the number: above any number that another Temporal
	// of the same database may have seen.
	restoredStep = 1_000_000
	restoredPage = 500
)

// MarkRestored handles a database that went backwards. Nobody knows which rows are
// behind, nor by how much: it treats each as [Store.MarkRolledBack] does, in
// transactions of at most 500 rows, and then raises the number above temporal, the one
// that Temporal has. It returns how many rows it marked. It may be repeated; it marks a
// row again only if the row got tokens meanwhile.
func (s *Store) MarkRestored(ctx context.Context, temporal int64) (marked int64, err error) {
	for after := ""; ; {
		var ids []string
		if err := s.db.With(ctx).Table("connections").Where("id > ?", after).Order("id").Limit(restoredPage).Pluck("id", &ids).Error; err != nil {
			return marked, fmt.Errorf("mark the rows after a restore: %w", err)
		}
		if len(ids) == 0 {
			break
		}
		after = ids[len(ids)-1]
		err := s.db.Durably(ctx, "mark the rows after a restore", func(tx *gorm.DB) error {
			n, err := s.markRolledBack(tx, func(q *gorm.DB) *gorm.DB { return q.Where("c.id IN ?", ids) })
			marked += n
			return db.Wrap("mark the rows after a restore", err)
		})
		if err != nil {
			return marked, err
		}
	}
	return marked, s.db.Durably(ctx, "raise the installation's number after a restore", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		return tx.Exec("UPDATE installation SET number = (CASE WHEN number > ? THEN number ELSE ? END) + ?, updated_at = ?", temporal, temporal, restoredStep, db.Nullable(now)).Error
	})
}
