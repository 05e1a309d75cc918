package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "github.com/glebarez/go-sqlite"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/notify"
)

// store holds the product's own data: the orders to write and the events it has taken.
type store struct{ db *sql.DB }

// A sync is one order to write to one connection's account. Its key is made before the
// first try and stays the same at every retry, so the provider writes the order once.
const schema = `
CREATE TABLE IF NOT EXISTS syncs (
	id         INTEGER PRIMARY KEY,
	key        TEXT NOT NULL UNIQUE, -- the Idempotency-Key
	connection TEXT NOT NULL,
	state      TEXT NOT NULL,
	note       TEXT NOT NULL DEFAULT '',
	tries      INTEGER NOT NULL DEFAULT 0,
	due_at     INTEGER NOT NULL,     -- milliseconds since 1970, as all times here
	changed_at INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
	id         TEXT PRIMARY KEY, -- of Perennial; what comes again is known by it
	type       TEXT NOT NULL,
	connection TEXT NOT NULL,
	words      TEXT NOT NULL,
	changed_at INTEGER NOT NULL, -- microseconds since 1970, by Perennial's clock
	taken_at   INTEGER NOT NULL
);`

// The states of a sync.
const (
	stateDue     = "due"
	stateAside   = "aside" // waits until the customer repairs the connection
	stateDone    = "done"
	stateRefused = "refused" // the provider will not accept it: a person must look
)

// A sync that was put aside is tried again after asideFor even without an event.
const asideFor = time.Hour

func openStore(ctx context.Context, path string) (*store, error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, fmt.Errorf("open the database (set DATABASE): %w", err)
	}
	db.SetMaxOpenConns(1) // one writer at a time, so nothing waits for locks
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database (set DATABASE): %w", err), db.Close())
	}
	return &store{db}, nil
}

func (s *store) close() error { return s.db.Close() }

func now() int64 { return time.Now().UnixMilli() }

type order struct {
	ID         int64
	Key        string
	Connection string
	Tries      int
}

// add enqueues an order.
func (s *store) add(ctx context.Context, key, connection string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO syncs (key, connection, state, due_at, changed_at) VALUES (?, ?, ?, ?, ?)`, key, connection, stateDue, now(), now())
	return err
}

// due returns the oldest sync that is due now.
func (s *store) due(ctx context.Context) (o order, found bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT id, key, connection, tries FROM syncs WHERE state IN (?, ?) AND due_at <= ? ORDER BY due_at, id LIMIT 1`,
		stateDue, stateAside, now()).Scan(&o.ID, &o.Key, &o.Connection, &o.Tries)
	if errors.Is(err, sql.ErrNoRows) {
		return order{}, false, nil
	}
	return o, err == nil, err
}

// end records the final state of one sync.
func (s *store) end(ctx context.Context, id int64, state, note string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE syncs SET state = ?, note = ?, tries = tries + 1, changed_at = ? WHERE id = ?`, state, note, now(), id)
	return err
}

// later schedules the next try of one sync.
func (s *store) later(ctx context.Context, id int64, at time.Time, note string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE syncs SET state = ?, note = ?, tries = tries + 1, due_at = ?, changed_at = ? WHERE id = ?`, stateDue, note, at.UnixMilli(), now(), id)
	return err
}

// unlessRepaired guards a write that follows from a failed try. If the connection was
// repaired after the try began, its event has come already and no other will follow.
const unlessRepaired = ` AND NOT EXISTS (SELECT 1 FROM events WHERE connection = ? AND type IN (` + repairs + `) AND taken_at >= ?)`

// repairs are the types of the events that resume syncs; losses put them aside.
const (
	repairs = `'` + string(perennial.EventRecovered) + `', '` + string(perennial.EventConnected) + `'`
	losses  = `'` + string(perennial.EventReconnectRequired) + `', '` + string(perennial.EventDisconnected) + `'`
)

// postpone moves every earlier sync of a connection to the given time, because there is
// no token until then. It changes nothing if the connection was repaired since the try
// began.
func (s *store) postpone(ctx context.Context, connection string, at time.Time, note string, began time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE syncs SET note = ?, due_at = ?, changed_at = ? WHERE connection = ? AND state IN (?, ?) AND due_at < ?`+unlessRepaired,
		note, at.UnixMilli(), now(), connection, stateDue, stateAside, at.UnixMilli(), connection, began.UnixMilli())
	return err
}

// putAside makes every sync of a connection wait for its repair. It changes nothing if
// the connection was repaired since the try began.
func (s *store) putAside(ctx context.Context, connection, note string, began time.Time) error {
	_, err := s.db.ExecContext(ctx, `UPDATE syncs SET state = ?, note = ?, due_at = ?, changed_at = ? WHERE connection = ? AND state IN (?, ?)`+unlessRepaired,
		stateAside, note, time.Now().Add(asideFor).UnixMilli(), now(), connection, stateDue, stateAside, connection, began.UnixMilli())
	return err
}

// take records an event and applies it, in one transaction. An event that was taken
// before changes nothing. Events come in any order: take records one that is older than
// another of its connection, but does not apply it to the syncs.
func (s *store) take(ctx context.Context, id string, e notify.Body) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	words := ""
	if e.Data.Words != nil {
		words = e.Data.Words.String()
	}
	changed := e.Timestamp.UnixMicro()
	added, err := tx.ExecContext(ctx, `INSERT INTO events (id, type, connection, words, changed_at, taken_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		id, e.Type, e.Data.ConnectionID, words, changed, now())
	if err != nil {
		return err
	}
	if n, err := added.RowsAffected(); err != nil || n == 0 {
		return err
	}
	overtaken := false
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM events WHERE connection = ? AND type IN (`+repairs+`, `+losses+`) AND changed_at > ?)`,
		e.Data.ConnectionID, changed).Scan(&overtaken)
	if err != nil {
		return err
	}
	if !overtaken {
		if err := follow(ctx, tx, e, words); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// follow applies the newest event about a connection to its syncs.
func follow(ctx context.Context, tx *sql.Tx, e notify.Body, words string) error {
	var err error
	switch e.Type {
	case perennial.EventReconnectRequired, perennial.EventDisconnected:
		_, err = tx.ExecContext(ctx, `UPDATE syncs SET state = ?, note = ?, due_at = ?, changed_at = ? WHERE connection = ? AND state = ?`,
			stateAside, words, time.Now().Add(asideFor).UnixMilli(), now(), e.Data.ConnectionID, stateDue)
	case perennial.EventRecovered, perennial.EventConnected:
		_, err = tx.ExecContext(ctx, `UPDATE syncs SET state = ?, note = '', due_at = ?, changed_at = ? WHERE connection = ? AND state IN (?, ?)`,
			stateDue, now(), now(), e.Data.ConnectionID, stateAside, stateDue)
	}
	return err
}

// entry is a line of the sync log.
type entry struct {
	At         time.Time
	Connection string
	What       string // "Order 7"; empty: it happened to the connection
	State      string // a sync's state, or an event's type
	Note       string
	Tries      int
}

// log returns the latest syncs and events, newest first.
func (s *store) log(ctx context.Context, limit int) ([]entry, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT changed_at, connection, 'Order ' || id, state, note, tries, id FROM syncs
		UNION ALL SELECT changed_at / 1000, connection, '', type, words, 0, rowid FROM events WHERE connection <> ''
		ORDER BY 1 DESC, 7 DESC LIMIT ?`, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []entry
	for rows.Next() {
		var e entry
		var at, id int64
		if err := rows.Scan(&at, &e.Connection, &e.What, &e.State, &e.Note, &e.Tries, &id); err != nil {
			return nil, err
		}
		e.At = time.UnixMilli(at).UTC()
		all = append(all, e)
	}
	return all, rows.Err()
}

// waiting counts the syncs that each connection has put aside.
func (s *store) waiting(ctx context.Context) (map[string]int, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT connection, count(*) FROM syncs WHERE state = ? GROUP BY connection`, stateAside)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var connection string
		var n int
		if err := rows.Scan(&connection, &n); err != nil {
			return nil, err
		}
		counts[connection] = n
	}
	return counts, rows.Err()
}
