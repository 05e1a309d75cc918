package store

import (
	"context"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// gather moves one chunk of each kind of connections that wait into the table waiting.
// all says that there was nothing left.
func (s *Store) gather(ctx context.Context, app, host string) (all bool, err error) {
	err = s.db.Durably(ctx, "gather the waiting connections of app "+app, func(tx *gorm.DB) error {
		circuit, now, ok, err := s.lockReleasing(tx, app, host)
		if err != nil || !ok {
			all = true
			return err
		}
		p := circuit.progress()
		of := tx.Table("connections AS c").Where("c.status = 'active' AND c.app = ? AND c.host = ?", app, host).Session(&gorm.Session{})
		queued := gathering{of.Where("c.attempt_id = '' AND c.queued_at IS NOT NULL AND c.next_attempt_at IS NOT NULL AND c.queued_at <= ?", db.Nullable(circuit.ReleasingAt.Add(queuedBefore))),
			"c.next_attempt_at", releaseChunk, func(c perennial.Connection) (time.Time, bool) { return c.NextAttemptAt, true }}
		moreQueued, err := queued.next(tx, &p.Queued, now)
		if err != nil {
			return err
		}
		due := gathering{of.Where("c.next_refresh_at IS NOT NULL AND "+s.ready()+" <= ?", db.Nullable(now)), s.ready(), dueRead, neverAsked}
		moreDue, err := due.next(tx, &p.Due, now)
		if err != nil {
			return err
		}
		if !moreDue {
			p.Due = ReleaseCursor{At: now} // go on with what becomes due
		}
		all = !moreQueued && !moreDue
		p.All = all
		return updateCircuit(tx, circuit, now, columns{"progress": p.text()})
	})
	return all, err
}

// neverAsked returns since when a connection is due, and whether it is one that did not
// ask while the circuit was open. Go decides that, not the database: its index of due
// connections has those that asked too, and it would read all of them to find a few.
func neverAsked(c perennial.Connection) (due time.Time, ok bool) {
	return latest(c.NextRefreshAt, c.NextAttemptAt), c.QueuedAt.IsZero() && c.FailureCount == 0 && c.Open.ID == ""
}

// gathering reads connections in the order of an SQL expression.
type gathering struct {
	q    *gorm.DB
	by   string
	read int // at most, at once
	// wanted returns by in Go, and whether to gather the connection.
	wanted func(perennial.Connection) (by time.Time, ok bool)
}

// next moves the next chunk after the cursor, and the cursor. more says that there may be
// another.
func (g gathering) next(tx *gorm.DB, after *ReleaseCursor, now time.Time) (more bool, err error) {
	q := g.q
	if !after.At.IsZero() {
		q = q.Where("("+g.by+", c.id) > (?, ?)", db.Nullable(after.At), after.ID)
	}
	found, err := waitingColumns.find(q.Order(g.by + ", c.id").Limit(g.read))
	if err != nil {
		return false, err
	}
	more = len(found) == g.read
	var rows []waitingRow
	for i, c := range found {
		c = tidy(c)
		at, ok := g.wanted(c)
		if *after = cursorAfter(c, at); ok {
			rows = append(rows, waitingOf(c, now))
		}
		if len(rows) == releaseChunk {
			more = more || i < len(found)-1
			break
		}
	}
	if len(rows) == 0 {
		return more, nil
	}
	return more, tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
}

// cursorAfter is where the next chunk begins. Connections with the same time come by id.
func cursorAfter(last perennial.Connection, at time.Time) ReleaseCursor {
	return ReleaseCursor{At: at, ID: last.ID}
}

// waitingColumns has the columns that a release reads of a connection.
var waitingColumns = connections.only("id", "app", "host", "status", "expires_at", "next_refresh_at", "next_attempt_at", "confirm_at", "queued_at", "failure_count",
	"attempt_id", "attempt_deadline")
