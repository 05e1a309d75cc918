package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// A release ends an outage. A good probe moves the circuit from open to releasing, by
// one short statement, also for a large app. [Store.Release] then does the rest
// in steps, each its own transaction, from what the row says; a process that is killed
// between two of them leaves the rest to the next. A step
//
//   - gathers connections that wait into the table waiting, at most releaseChunk;
//   - gives the next ones, those with the earliest expiry first, their turn: two, then
//     four, and so on, once those before them have refreshed.
//
// While the circuit is releasing, the gate, the single statements and the bulk claim
// admit only connections that have their turn. Whoever else asks joins the table. When
// nobody waits any more, the circuit closes. The first failure of the circuit's kind,
// of an attempt that began after the release did, opens it again.

// releasing matches the circuits that are releasing. The time remains after the
// release, and a circuit that opens later has a later opened_at. In Go it is
// [circuitRow.releasing].
const releasing = `COALESCE(circuits.reason <> '' AND circuits.releasing_at >= circuits.opened_at, false)`

func (r circuitRow) releasing() bool {
	return r.Reason != "" && r.ReleasingAt != nil && r.OpenedAt != nil && !r.ReleasingAt.Before(*r.OpenedAt)
}

const (
	// releaseChunk is the most connections that one transaction of a release writes.
	releaseChunk = 500
	// dueRead is the most connections that it reads to find those that never asked.
	dueRead = 4 * releaseChunk
	// releaseBatch is how many connections one statement makes due. They become due
	// together; the rate slots space them.
	releaseBatch = 25
	// firstTurns is how many connections a release begins with.
	firstTurns = 2
	// releaseAhead is how far the turns may run ahead of the refreshes. A workflow task
	// that waits longer than the sticky timeout goes to another worker, which replays
	// the workflow: called faster than they can refresh, connections refresh at half
	// the pace.
	releaseAhead = 2 * time.Second
	// turnTakes is how long after its turn a connection that has not begun to refresh
	// still counts as under way. Its workflow may be away: do not wait for it.
	turnTakes = 10 * time.Second
	// turnEnds is how long after its turn such a connection loses it.
	turnEnds = time.Minute
	// queuedBefore is how long after the beginning of a release a row may say that it
	// waits since before. Its transaction was under way.
	queuedBefore = 5 * time.Second
	// lateFailureWait is the wait after a failure whose attempt began before the
	// release did: the failure belongs to the time before.
	lateFailureWait = time.Second
)

// ReleaseCursor is a position in an order of connections.
type ReleaseCursor struct {
	At time.Time `json:"at,omitzero"`
	ID string    `json:"id,omitempty"`
}

// releaseProgress is how far a release has come.
type releaseProgress struct {
	Size   int           `json:"size,omitempty"`     // how many connections may be under way at once
	RateAt time.Time     `json:"rate_at,omitzero"`   // the release's rate is used up to this time
	Queued ReleaseCursor `json:"queued,omitzero"`    // gathered so far of those that asked and had to wait
	Due    ReleaseCursor `json:"due,omitzero"`       // gathered so far of those that were due and never asked
	All    bool          `json:"gathered,omitempty"` // nothing was left to gather
}

func (r circuitRow) progress() (p releaseProgress) {
	_ = json.Unmarshal([]byte(r.Progress), &p) // unreadable: begin anew
	return p
}

func (p releaseProgress) text() string {
	out, err := json.Marshal(p)
	if err != nil { // times and numbers always marshal
		return ""
	}
	return string(out)
}

// next returns how many connections may have their turn now, if underway have not
// refreshed yet. rate is the release's, a second. It is pure.
func (p releaseProgress) next(underway int, rate float64, now time.Time) (int, releaseProgress) {
	most := max(int(rate*releaseAhead.Seconds()), firstTurns)
	switch {
	case p.Size == 0:
		p.Size, p.RateAt = firstTurns, now.Add(-releaseAhead)
	case 2*underway <= p.Size:
		p.Size *= 2
	}
	p.Size = min(p.Size, most)
	p.RateAt = latest(p.RateAt, now.Add(-releaseAhead))
	n := min(p.Size-underway, int(now.Sub(p.RateAt).Seconds()*rate), releaseChunk)
	return max(n, 0), p
}

// used returns the progress after n turns.
func (p releaseProgress) used(n int, rate float64) releaseProgress {
	p.RateAt = p.RateAt.Add(time.Duration(float64(n) / rate * float64(time.Second)))
	return p
}

// ReleasingApps returns the names, in order, of the apps with a circuit that is
// releasing.
func (s *Store) ReleasingApps(ctx context.Context) (apps []string, err error) {
	err = s.db.With(ctx).Raw("SELECT DISTINCT app FROM circuits WHERE " + releasing + notStopped + " ORDER BY app").Scan(&apps).Error
	if err != nil {
		return nil, fmt.Errorf("find the apps whose connections are being released: %w", err)
	}
	return apps, nil
}

// notStopped leaves out the circuits of apps that an operator has stopped.
const notStopped = ` AND NOT EXISTS (SELECT 1 FROM apps WHERE apps.app = circuits.app AND apps.stopped_at IS NOT NULL)`

// ReleaseRequest asks for the next step of an app's release.
type ReleaseRequest struct {
	App    string
	Rate   float64 // the app's limit of requests a second; 0: none
	Pooled bool    // the app has pacers: do not return the connections that they refresh
}

// Release does the next step of the release of an app's waiting connections, at each of
// its hosts. It returns the connections that have their turn since this call. more says
// that the release goes on. Any process may call it, also several at once; once a
// second is often enough.
func (s *Store) Release(ctx context.Context, req ReleaseRequest) (cs []perennial.Connection, more bool, err error) {
	var circuits []circuitRow
	if err := s.db.With(ctx).Where("app = ? AND "+releasing+notStopped, req.App).Order("host").Find(&circuits).Error; err != nil {
		return nil, false, fmt.Errorf("read the circuits of app %s: %w", req.App, err)
	}
	var failed []error
	for _, circuit := range circuits {
		released, on, err := s.releaseAt(ctx, req, circuit.Host)
		cs, more = append(cs, released...), more || on
		failed = append(failed, err)
	}
	if req.Pooled {
		cs = slices.DeleteFunc(cs, func(c perennial.Connection) bool { return nothingFailed(c) && c.Proven() })
	}
	return cs, more, errors.Join(failed...)
}

// gatherChunks is how many chunks one step gathers at most.
const gatherChunks = 10

// releaseAt does one step of the release at one host.
func (s *Store) releaseAt(ctx context.Context, req ReleaseRequest, host string) (cs []perennial.Connection, more bool, err error) {
	fail := func(err error) ([]perennial.Connection, bool, error) {
		return cs, true, fmt.Errorf("release the connections of app %s at %s: %w", req.App, host, err)
	}
	for range gatherChunks {
		all, err := s.gather(ctx, req.App, host)
		if err != nil {
			return fail(err)
		}
		if all {
			break
		}
	}
	for {
		page, on, err := s.giveTurns(ctx, req, host)
		if err != nil {
			return fail(err)
		}
		cs, more = append(cs, page...), on
		if len(page) < releaseChunk {
			return cs, more, nil
		}
	}
}

// lockReleasing locks a circuit that is releasing. ok is false if it is not.
func (s *Store) lockReleasing(tx *gorm.DB, app, host string) (circuit circuitRow, now time.Time, ok bool, err error) {
	var rows []circuitRow
	if err = s.locking(tx).Where("app = ? AND host = ?", app, host).Limit(1).Find(&rows).Error; err != nil {
		return
	}
	if now, err = s.db.Clock(tx); err != nil || len(rows) == 0 {
		return
	}
	return rows[0], now, rows[0].releasing(), nil
}

// giveTurns gives the next connections their turn, in one transaction, or closes the
// circuit. It locks the circuit and then connections; nobody does so in another order.
func (s *Store) giveTurns(ctx context.Context, req ReleaseRequest, host string) (cs []perennial.Connection, more bool, err error) {
	err = s.db.Durably(ctx, "give the waiting connections of app "+req.App+" their turn", func(tx *gorm.DB) error {
		circuit, now, ok, err := s.lockReleasing(tx, req.App, host)
		if more = ok; err != nil || !ok {
			return err
		}
		app, err := readApp(tx, req.App)
		if err != nil {
			return err
		}
		if app.StoppedAt != nil || latest(db.Time(circuit.SlowUntil), db.Time(app.SlowUntil)).After(now) {
			return nil // the gate would send them back
		}
		underway, err := s.settle(tx, circuit, now)
		if err != nil {
			return err
		}
		rate := ReleaseRate(req.Rate, circuit.Connections)
		n, p := circuit.progress().next(underway, rate, now)
		if seam.Off(seam.Circuit) {
			n = releaseChunk
		}
		ids, err := nextWaiting(tx, circuit, max(n, 1))
		if err != nil {
			return err
		}
		if len(ids) == 0 && p.All && underway == 0 {
			more = false
			return closeCircuit(tx, circuit, now)
		}
		if cs, err = s.release(tx, circuit, ids[:min(n, len(ids))], rate, now); err != nil {
			return err
		}
		return updateCircuit(tx, circuit, now, columns{"progress": p.used(len(cs), rate).text()})
	})
	if err != nil {
		return nil, true, err
	}
	return cs, more, nil
}

// nextWaiting returns the ids of the next connections, at most n.
func nextWaiting(tx *gorm.DB, circuit circuitRow, n int) (ids []string, err error) {
	err = tx.Table("waiting").Where("app = ? AND host = ? AND turn_at IS NULL", circuit.App, circuit.Host).Order("expires_at, connection_id").Limit(n).Pluck("connection_id", &ids).Error
	return ids, err
}

// settle forgets the connections that had their turn and have gone, and returns how many
// others are under way.
func (s *Store) settle(tx *gorm.DB, circuit circuitRow, now time.Time) (underway int, err error) {
	var turns []waitingRow
	if err := tx.Where("app = ? AND host = ? AND turn_at IS NOT NULL", circuit.App, circuit.Host).Find(&turns).Error; err != nil || len(turns) == 0 {
		return 0, err
	}
	var over []string
	for part := range slices.Chunk(turns, releaseChunk) {
		ids := make([]string, len(part))
		for i, w := range part {
			ids[i] = w.ConnectionID
		}
		found, err := waitingColumns.find(tx.Where("id IN ?", ids))
		if err != nil {
			return 0, err
		}
		rows := map[string]perennial.Connection{}
		for _, c := range found {
			rows[c.ID] = tidy(c)
		}
		for _, w := range part {
			switch c, turn := rows[w.ConnectionID], db.Time(w.TurnAt); {
			case gone(c, turn, now):
				over = append(over, w.ConnectionID)
			case c.Open.Alive(now) || turn.Add(turnTakes).After(now):
				underway++
			}
		}
	}
	for part := range slices.Chunk(over, releaseChunk) {
		if err := tx.Where("connection_id IN ?", part).Delete(&waitingRow{}).Error; err != nil {
			return 0, err
		}
	}
	return underway, nil
}

// gone reports whether a connection needs its turn no longer: it has refreshed, or
// failed for a reason of its own, or did not come.
func gone(c perennial.Connection, turn, now time.Time) bool {
	switch {
	case c.Status != perennial.StatusActive:
		return true
	case c.Open.Alive(now):
		return false
	}
	return c.QueuedAt.IsZero() || c.FailureCount > 0 && c.NextAttemptAt.After(latest(turn, now)) || turn.Add(turnEnds).Before(now)
}

// release gives connections their turn and makes them due, at the given rate a second.
// It skips those that another transaction has locked. It forgets those that wait no
// longer, or must not be presented yet.
func (s *Store) release(tx *gorm.DB, circuit circuitRow, ids []string, rate float64, now time.Time) (out []perennial.Connection, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	q := tx.Where("id IN ?", ids)
	if s.db.Dialect == schema.Postgres {
		q = q.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
	}
	found, err := readConnections(q)
	if err != nil {
		return nil, err
	}
	rows := map[string]perennial.Connection{}
	for _, c := range found {
		rows[c.ID] = c
	}
	var forget []string
	for _, id := range ids {
		switch c, ok := rows[id]; {
		case !ok:
		case waits(c, now):
			out = append(out, c)
		default:
			forget = append(forget, id)
		}
	}
	gap := time.Duration(float64(time.Second) / rate)
	for start := 0; start < len(out); start += releaseBatch {
		batch := out[start:min(start+releaseBatch, len(out))]
		turn, turns := now.Add(time.Duration(start)*gap).Truncate(time.Microsecond), make([]string, len(batch))
		for i := range batch {
			turns[i], batch[i].NextAttemptAt, batch[i].BackoffUntil = batch[i].ID, turn, turn
		}
		err := errorsOf(
			tx.Table("connections").Where("id IN ?", turns).Updates(map[string]any{"next_attempt_at": db.Nullable(turn), "backoff_until": db.Nullable(turn), "queued_at": gorm.Expr("COALESCE(queued_at, ?)", db.Nullable(now)), "updated_at": db.Nullable(now)}).Error,
			tx.Table("waiting").Where("connection_id IN ?", turns).Updates(map[string]any{"turn_at": db.Nullable(turn)}).Error)
		if err != nil {
			return nil, err
		}
	}
	return out, errorsOf(
		tx.Where("connection_id IN ?", append(forget, "")).Delete(&waitingRow{}).Error,
		tx.Where("connection_id IN ? AND NOT EXISTS (SELECT 1 FROM connections WHERE connections.id = waiting.connection_id)", ids).Delete(&waitingRow{}).Error)
}

// waits reports whether a connection still waits for its circuit.
func waits(c perennial.Connection, now time.Time) bool {
	due := !c.NextRefreshAt.IsZero() && !c.NextRefreshAt.After(now)
	return c.Status == perennial.StatusActive && !c.Open.Alive(now) && !c.NotBefore(now).After(now) && (!c.QueuedAt.IsZero() || due)
}
