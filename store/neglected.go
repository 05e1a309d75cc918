package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
)

// Is a connection neglected? Temporal may be away, refuse us, or answer and do nothing;
// no worker may poll the queue; one workflow may be stuck. The rule does not ask for the
// cause. A connection is neglected if it is overdue and was passed over though it could
// have been refreshed. A backlog is not neglect, nor is a wait that the row or its app
// demands.
//
//	Go            SQL            meaning
//	patienceWith  patience       how late it may be: the request's patience, or half of its buffer if that is shorter
//	settled       settled        its waits are over, and its workflow had time to notice
//	gateOpen      undisturbed    no circuit, slow-down or release keeps it (claimable.go)
//	probeMissed   probeMissed    or its circuit waits for a probe that nobody makes
//	passedOver    passedOver     something due later was served; or nothing was, and the limit has a free slot or gave it its turn
//	neglected     neglectedRows  all of them, and it is later than patience
//
// Change both columns together; TestNeglected compares them on rows of every kind.

const (
	// minPatience is the shortest lateness that counts. It is for tokens that live for
	// seconds.
	minPatience = time.Second
	// settlesIn is how long after a wait a connection is left to its workflow.
	settlesIn = 15 * time.Second
	// servedWithin: an app whose last refresh began longer ago is not being served.
	servedWithin = 15 * time.Second
	// servedRead is how many of the newest ledger lines are read.
	servedRead = 1000
	// neglectedRead is how many due connections of one app are read, those due for
	// longest first.
	neglectedRead = 1000
)

// NeglectedRequest asks for the neglected connections.
type NeglectedRequest struct {
	// Patience is how late a connection may be, if half of its buffer is not shorter:
	// the time of two sweeps, or less if Temporal is known to be away.
	Patience time.Duration
	Limit    int // connections to return
}

// Neglected has the connections that nobody refreshes though they are overdue.
type Neglected struct {
	// Found counts all of them, also those that only their workflow may refresh: it must
	// confirm a refusal, or has a token set that is set aside.
	Found int
	Since time.Time // the earliest due time of all of them; zero: none is neglected
	// Connections are those that another process may refresh. Those without a doubt (an
	// attempt that is open or whose outcome is unknown) come first, in the order in which
	// their tokens expire.
	Connections []perennial.Connection
}

// Neglected finds the neglected connections. If nothing is overdue, that is one statement,
// which reads one index entry for each app. Otherwise it reads the newest lines of the ledger, and the due
// connections of the apps that have such. Of an app with many it looks at those due for
// longest, so that a large backlog costs no more than a small one.
func (s *Store) Neglected(ctx context.Context, req NeglectedRequest) (Neglected, error) {
	var apps []string
	if err := s.db.With(ctx).Raw(s.lateApps()).Scan(&apps).Error; err != nil {
		return Neglected{}, fmt.Errorf("find neglected connections: %w", err)
	}
	if len(apps) == 0 {
		return Neglected{}, nil
	}
	now, err := s.Now(ctx)
	if err != nil {
		return Neglected{}, err
	}
	last, err := s.lastServed(ctx, now)
	if err != nil {
		return Neglected{}, err
	}
	var found []foundNeglected
	for _, app := range apps {
		of, err := s.neglectedOf(ctx, app, "", req.Patience, last[app], now)
		if err != nil {
			return Neglected{}, err
		}
		found = append(found, of...)
	}
	return s.readNeglected(ctx, found, req.Limit)
}

// IsNeglected reports whether the connection, as just read, is neglected now. For one that
// is not late it asks the database for nothing but the time.
func (s *Store) IsNeglected(ctx context.Context, c perennial.Connection, patience time.Duration) (bool, error) {
	now, err := s.Now(ctx)
	if own := patienceWith(c, patience); err != nil || c.Status != perennial.StatusActive || c.NextRefreshAt.IsZero() || now.Sub(c.NextRefreshAt) <= own || !settled(c, own, now) {
		return false, err
	}
	last, err := s.lastServed(ctx, now)
	if err != nil {
		return false, err
	}
	found, err := s.neglectedOf(ctx, c.App, c.ID, patience, last[c.App], now)
	return len(found) > 0, err
}

func (s *Store) neglectedOf(ctx context.Context, app, id string, patience time.Duration, served, now time.Time) (found []foundNeglected, err error) {
	statement, args := s.neglectedRows(app, id, patience, served, now)
	if err := s.db.With(ctx).Raw(statement, args...).Scan(&found).Error; err != nil {
		return nil, fmt.Errorf("find neglected connections of app %s: %w", app, err)
	}
	return found, nil
}

// foundNeglected is a neglected connection, and what decides whether and when another
// process may refresh it.
type foundNeglected struct {
	ID        string
	Left      bool // to its workflow: a refusal to confirm, or a token set that is set aside
	Doubtful  bool // an attempt is open or its outcome unknown
	DueAt     *time.Time
	ExpiresAt *time.Time
}

func (s *Store) readNeglected(ctx context.Context, found []foundNeglected, limit int) (Neglected, error) {
	out := Neglected{Found: len(found)}
	for _, f := range found {
		if due := db.Time(f.DueAt); out.Since.IsZero() || due.Before(out.Since) {
			out.Since = due
		}
	}
	found = slices.DeleteFunc(found, func(f foundNeglected) bool { return f.Left })
	slices.SortFunc(found, func(a, b foundNeglected) int {
		return cmp.Or(falseFirst(a.Doubtful, b.Doubtful), falseFirst(a.ExpiresAt == nil, b.ExpiresAt == nil), db.Time(a.ExpiresAt).Compare(db.Time(b.ExpiresAt)), cmp.Compare(a.ID, b.ID))
	})
	place := map[string]int{}
	for _, f := range found[:min(limit, len(found))] {
		place[f.ID] = len(place)
	}
	if len(place) == 0 {
		return out, nil
	}
	ids := make([]string, 0, len(place))
	for id := range place {
		ids = append(ids, id)
	}
	var err error
	out.Connections, err = s.swept(s.db.With(ctx).Where("id IN ?", ids), len(ids))
	slices.SortFunc(out.Connections, func(a, b perennial.Connection) int { return place[a.ID] - place[b.ID] })
	return out, err
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// lateApps returns the SQL for the apps that have a connection due for minPatience.
// It goes from app to app by the index connections_due. It asks for each app's earliest
// due time, not whether there is an earlier one: for that question PostgreSQL read
// hundreds of rows by another index.
func (s *Store) lateApps() string {
	late := fmt.Sprintf("clock_timestamp() - interval '%f seconds'", minPatience.Seconds())
	if s.db.Dialect == schema.SQLite {
		late = fmt.Sprintf("strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '-%f seconds') || '+00:00'", minPatience.Seconds())
	}
	return `WITH RECURSIVE names(app) AS (SELECT min(app) FROM connections WHERE status = 'active'
	UNION ALL SELECT (SELECT min(o.app) FROM connections AS o WHERE o.status = 'active' AND o.app > names.app) FROM names WHERE names.app IS NOT NULL)
SELECT app FROM names WHERE app IS NOT NULL AND
	(SELECT min(` + s.ready() + `) FROM connections AS c WHERE c.app = names.app AND c.status = 'active') <= ` + late
}

// servedLines reads the newest lines of the ledger, and by its id the app of each that is
// a timely refresh. It is no join, and its limit no argument: otherwise PostgreSQL planned
// for a tenth of the ledger and read all connections.
var servedLines = fmt.Sprintf(`SELECT COALESCE((SELECT c.app FROM connections AS c WHERE c.id = a.connection_id), '') AS app, a.started_at AS started_at, a.lateness_ms AS lateness_ms
FROM (SELECT connection_id, started_at, lateness_ms, outcome, trigger_name FROM attempts WHERE started_at > ? ORDER BY started_at DESC LIMIT %d) AS a
WHERE a.outcome = ? AND a.trigger_name <> ? AND a.lateness_ms >= 0`, servedRead)

// lastServed returns, for each app that is being served, the latest due time among the
// connections whose refresh began within servedWithin. Refreshes beside Temporal do not
// count, nor those before the due time: they do not show that anybody keeps the due
// times.
func (s *Store) lastServed(ctx context.Context, now time.Time) (map[string]time.Time, error) {
	var lines []struct {
		App        string
		StartedAt  time.Time
		LatenessMs int64
	}
	err := s.db.With(ctx).Raw(servedLines, db.Nullable(now.Add(-servedWithin)), perennial.OutcomeRefreshed, perennial.TriggerFallback).Scan(&lines).Error
	if err != nil {
		return nil, fmt.Errorf("read which apps are being served: %w", err)
	}
	last := map[string]time.Time{}
	for _, l := range lines {
		last[l.App] = latest(last[l.App], l.StartedAt.UTC().Add(-time.Duration(l.LatenessMs)*time.Millisecond))
	}
	return last, nil
}

// neglectedRows returns the SQL for an app's neglected connections, of those due for
// longest, or for the one with the id. served comes from [Store.lastServed]; zero: nothing
// was served. The limit is no argument: with one, PostgreSQL planned for a tenth of the
// app and sorted all of it.
func (s *Store) neglectedRows(app, id string, atMost time.Duration, served, now time.Time) (statement string, args []any) {
	instant := "?"
	if s.db.Dialect == schema.Postgres {
		instant = "?::timestamptz"
	}
	due := s.ready()
	patience := s.patience(atMost)
	rows, args := "c.app = ?", []any{app}
	if id != "" {
		rows, args = "c.id = ? AND "+ofApp, []any{id, app}
	}
	statement = `SELECT c.id AS id, c.next_refresh_at AS due_at, c.expires_at AS expires_at,
	c.attempt_id <> '' OR c.ambiguous_since IS NOT NULL AND c.ambiguous_digest = c.refresh_token_digest AS doubtful,
	c.suspect_since IS NOT NULL AND c.suspect_digest = c.refresh_token_digest OR c.set_aside_generation > c.generation AS "left"
FROM (SELECT c.* FROM connections AS c WHERE ` + rows + ` AND c.status = 'active' AND ` + due + ` <= ` + instant + ` ORDER BY ` + due + ` LIMIT ` + fmt.Sprint(neglectedRead) + `) AS c,
	(SELECT ` + instant + ` AS now, ` + instant + ` AS served) AS t
WHERE c.next_refresh_at IS NOT NULL AND ` + s.seconds("t.now") + " - " + s.seconds("c.next_refresh_at") + " > " + patience + `
	AND ` + s.settled(patience) + `
	AND (` + undisturbed + ` OR ` + s.probeMissed(patience) + `)
	AND ` + s.passedOver(patience)
	return statement, append(args, db.Nullable(now.Add(-minPatience)), db.Nullable(now), db.Nullable(served))
}

// seconds returns the SQL for a time as a number of seconds.
func (s *Store) seconds(at string) string {
	if s.db.Dialect == schema.SQLite {
		return "(julianday(" + at + ") * 86400.0)"
	}
	return "EXTRACT(EPOCH FROM " + at + ")"
}

// patience is [patienceWith] in SQL, in seconds.
func (s *Store) patience(most time.Duration) string {
	greatest, least := "GREATEST", "LEAST"
	if s.db.Dialect == schema.SQLite {
		greatest, least = "max", "min"
	}
	return fmt.Sprintf("%s(%f, CASE WHEN c.expires_at > c.next_refresh_at THEN %s(%f, (%s - %s) / 2) ELSE %f END)",
		greatest, minPatience.Seconds(), least, most.Seconds(), s.seconds("c.expires_at"), s.seconds("c.next_refresh_at"), most.Seconds())
}

// settled is [settled] in SQL.
func (s *Store) settled(patience string) string {
	return s.noticed("c.next_attempt_at", patience) + " AND " + s.noticed("c.confirm_at", patience) + " AND (c.attempt_id = '' OR " + s.noticed("c.attempt_deadline", patience) + ")"
}

// noticed is [noticed] in SQL.
func (s *Store) noticed(at, patience string) string {
	least := "LEAST"
	if s.db.Dialect == schema.SQLite {
		least = "min"
	}
	return fmt.Sprintf("(%s IS NULL OR %s - %s > %s(%f, %s))", at, s.seconds("t.now"), s.seconds(at), least, settlesIn.Seconds(), patience)
}

// probeMissed is [probeMissed] in SQL.
func (s *Store) probeMissed(patience string) string {
	return `EXISTS (SELECT 1 FROM circuits WHERE circuits.app = c.app AND circuits.host = c.host AND circuits.reason <> ''
		AND (NOT circuits.unproven_only OR c.unproven_since IS NOT NULL) AND NOT ` + releasing + ` AND ` + s.noticed("circuits.next_probe_at", patience) + `)`
}

// passedOver is [passedOver] in SQL.
func (s *Store) passedOver(patience string) string {
	return `CASE WHEN t.served IS NOT NULL THEN ` + s.seconds("t.served") + " - " + s.seconds("c.next_refresh_at") + " > " + patience + `
	ELSE c.queued_at IS NOT NULL OR NOT EXISTS (SELECT 1 FROM apps WHERE apps.app = c.app AND (apps.slot_at > t.now OR apps.backlog_at > t.now)) END`
}

// patienceWith returns how late the connection may be, at most most.
func patienceWith(c perennial.Connection, most time.Duration) time.Duration {
	if c.ExpiresAt.After(c.NextRefreshAt) {
		most = min(most, c.ExpiresAt.Sub(c.NextRefreshAt)/2)
	}
	return max(most, minPatience)
}

// settled reports whether all waits of the connection ended so long ago that its
// workflow had time to notice. now is the database's clock.
func settled(c perennial.Connection, patience time.Duration, now time.Time) bool {
	return noticed(latest(c.NextAttemptAt, c.ConfirmAt, c.Open.Deadline), patience, now)
}

// noticed reports whether a workflow that waited until at, if not zero, had time to act.
func noticed(at time.Time, patience time.Duration, now time.Time) bool {
	return at.IsZero() || now.Sub(at) > min(patience, settlesIn)
}

// probeMissed reports whether an open circuit keeps the connection and nobody makes its
// probe. The gate would let the connection be the canary.
func probeMissed(c perennial.Connection, circuit circuitRow, patience time.Duration, now time.Time) bool {
	return circuit.bars(c) && !circuit.releasing() && noticed(db.Time(circuit.NextProbeAt), patience, now)
}

// passedOver reports whether the connection could have been served by now. served is
// the latest due time that the app was served for; zero: the app was not served. In that
// case a limit whose slots are taken explains the wait, but not that of a connection that
// asked for a slot: its turn is over (see settled).
func passedOver(c perennial.Connection, app appRow, patience time.Duration, served, now time.Time) bool {
	if !served.IsZero() {
		return served.Sub(c.NextRefreshAt) > patience
	}
	return !c.QueuedAt.IsZero() || !latest(db.Time(app.SlotAt), db.Time(app.BacklogAt)).After(now)
}

// neglected is the rule for one row, as tidy returns it. It is pure. released says that
// the release of its circuit has given the connection its turn. now is the database's
// clock.
func neglected(c perennial.Connection, circuit circuitRow, app appRow, released bool, atMost time.Duration, served, now time.Time) bool {
	patience := patienceWith(c, atMost)
	return c.Status == perennial.StatusActive && !c.NextRefreshAt.IsZero() && now.Sub(c.NextRefreshAt) > patience &&
		settled(c, patience, now) && (gateOpen(c, circuit, app, released, now) || probeMissed(c, circuit, patience, now)) && passedOver(c, app, patience, served, now)
}
