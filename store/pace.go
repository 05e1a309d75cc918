package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
)

// Shard is one part of an app's connections, by a hash of their ids.
type Shard struct {
	App string
	N   int // the number of this shard, from 0
	Of  int // how many shards the app has
}

// ClaimDueRequest claims due connections in bulk.
type ClaimDueRequest struct {
	Shard
	Limit   int
	Late    time.Duration // only connections that are at least this late
	Lease   time.Duration
	Trigger perennial.Trigger
	// Beat is the highest that this pacer has seen. If the database has a lower one, it
	// went backwards, and no connection is claimed.
	Beat int64
}

// claim asks for one of the shard's connections. They are in no doubt that a replay
// class would have to decide.
func (r ClaimDueRequest) claim(c perennial.Connection) ClaimRequest {
	return ClaimRequest{ID: c.ID, Generation: c.Generation, Trigger: r.Trigger, AttemptID: uuid.NewString(), Lease: r.Lease}
}

// ClaimDueResult holds the claims of a pacer.
type ClaimDueResult struct {
	Claims []Claim
	Beat   int64
	// RolledBack: the database's beat is below the one that was given out. Call
	// [Store.MarkRolledBack] before the next claim.
	RolledBack bool
}

// ClaimDue claims due connections of a shard, at most Limit, earliest due time first.
// It takes only those that are healthy or that only waited at the gate, and claims each
// as [Store.FastClaim] does, by the same rule (claimable.go). It leaves every other
// connection to its workflow: also one that has never worked, because an import of many
// bad tokens would take all places of a pacer at once. It skips rows that another
// transaction has locked.
func (s *Store) ClaimDue(ctx context.Context, req ClaimDueRequest) (ClaimDueResult, error) {
	if s.db.Dialect != schema.Postgres {
		return s.claimDueSlowly(ctx, req)
	}
	pacer := []any{req.App, req.N, req.Of}
	args := slices.Concat(pacer, []any{req.Beat}, req.due(req.Late), []any{req.Limit}, pacer, []any{uuid.NewString(), req.Lease.Microseconds(), string(req.Trigger)}, pacer)
	fail := func(err error) (ClaimDueResult, error) {
		return ClaimDueResult{}, fmt.Errorf("claim due connections of app %s: %w", req.App, err)
	}
	rows, err := s.db.SQL.QueryContext(ctx, claimDue, args...)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	var out ClaimDueResult
	found := false
	for ; rows.Next(); found = true {
		var now sql.NullTime
		var beat int64
		c, err := connections.scan(rows, &now, &beat)
		if err != nil {
			return fail(err)
		}
		out.Beat, out.RolledBack = max(beat, req.Beat), beat < req.Beat
		if c.ID != "" { // else nothing was due
			out.Claims = append(out.Claims, Claim{Verdict: VerdictClaimed, Connection: tidy(c), Now: now.Time.UTC()})
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return fail(err)
	}
	if !found {
		return s.beat(ctx, req) // the pacer has no row yet, or no longer
	}
	return out, nil
}

const shardOf = `(hashtext(c.id) & 2147483647) % ? = ?`

// ready is when c can be refreshed: the expression of the index connections_due.
const ready = `GREATEST(c.next_refresh_at, c.next_attempt_at)`

// dueRows matches the rows c that a bulk claim may take. The bound of their time comes
// from a subquery, so that every plan uses it as the condition of the index. When it
// came from the join with t, some plans used it as a filter, and read the app's whole
// index whenever fewer connections were due than the limit. If the gate is shut for the
// whole app, no row is read.
const dueRows = `c.app = ? AND c.next_refresh_at IS NOT NULL AND ` + ready + ` <= (SELECT t.now - ?::bigint * interval '1 microsecond' FROM t)
	AND ` + shardOf + ` AND c.unproven_since IS NULL AND ` + claimable + ` AND NOT ` + shut

// shut: the whole app is stopped or slowed down; or it has only one host, and the circuit there is
// open.
const shut = `(EXISTS (SELECT 1 FROM apps, t WHERE apps.app = ? AND (apps.slow_until > t.now OR apps.stopped_at IS NOT NULL))
	OR EXISTS (SELECT 1 FROM circuits WHERE circuits.app = ? AND circuits.reason <> '' AND NOT circuits.unproven_only AND NOT ` + releasing + `
		AND circuits.host = (SELECT min(host) FROM connections WHERE app = ?) AND circuits.host = (SELECT max(host) FROM connections WHERE app = ?)))`

// due returns the arguments of dueRows.
func (s Shard) due(late time.Duration) []any {
	return []any{s.App, late.Microseconds(), s.Of, s.N, s.App, s.App, s.App, s.App}
}

var claimDue = numbered(`WITH ` + durable + `, t AS MATERIALIZED (SELECT clock_timestamp() AS now),
pacer AS MATERIALIZED (SELECT beat FROM pacers WHERE app = ? AND shard = ? AND shards = ? AND beat >= ? FOR UPDATE),
due AS MATERIALIZED (SELECT c.id FROM connections AS c, t, pacer WHERE ` + dueRows + ` ORDER BY ` + ready + ` LIMIT ? FOR UPDATE OF c SKIP LOCKED),
beats AS (UPDATE pacers SET beat = beat + 1, updated_at = t.now FROM t WHERE app = ? AND shard = ? AND shards = ? AND EXISTS (SELECT 1 FROM due) RETURNING beat),
claimed AS (UPDATE connections AS c SET attempt_id = ? || '-' || c.id, ` + opensAttempt + `
FROM durable, t, due, beats WHERE c.id = due.id
RETURNING ` + connections.list("c") + `, t.now AS now, beats.beat AS beat)
SELECT ` + connections.list("claimed") + `, claimed.now, COALESCE(claimed.beat, pacers.beat) AS beat
FROM pacers LEFT JOIN claimed ON true WHERE pacers.app = ? AND pacers.shard = ? AND pacers.shards = ?`)

// beat reads the pacer's beat, and creates its row if missing.
func (s *Store) beat(ctx context.Context, req ClaimDueRequest) (ClaimDueResult, error) {
	var beats []int64
	q := s.db.With(ctx)
	err := q.Raw(`SELECT beat FROM pacers WHERE app = ? AND shard = ? AND shards = ?`, req.App, req.N, req.Of).Scan(&beats).Error
	if err != nil {
		return ClaimDueResult{}, fmt.Errorf("read the pacer of app %s: %w", req.App, err)
	}
	if len(beats) == 1 {
		return ClaimDueResult{Beat: max(beats[0], req.Beat), RolledBack: beats[0] < req.Beat}, nil
	}
	now, err := s.Now(ctx)
	if err != nil {
		return ClaimDueResult{}, err
	}
	err = q.Exec(`INSERT INTO pacers (app, shard, shards, beat, updated_at) VALUES (?, ?, ?, 0, ?) ON CONFLICT DO NOTHING`, req.App, req.N, req.Of, db.Nullable(now)).Error
	if err != nil {
		return ClaimDueResult{}, fmt.Errorf("make the pacer of app %s: %w", req.App, err)
	}
	return ClaimDueResult{RolledBack: req.Beat > 0}, nil
}

// claimDueSlowly is ClaimDue for a database that cannot do it in one statement. A
// development database has one process, so any shard may claim any connection.
func (s *Store) claimDueSlowly(ctx context.Context, req ClaimDueRequest) (ClaimDueResult, error) {
	out, err := s.beat(ctx, req)
	if err != nil || out.RolledBack {
		return out, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return out, err
	}
	rows, err := readConnections(s.db.With(ctx).Table("connections AS c, (SELECT ? AS now) AS t", db.Nullable(now)).
		Where("c.app = ? AND c.next_refresh_at IS NOT NULL AND c.unproven_since IS NULL AND "+s.ready()+" <= ? AND "+claimable, req.App, db.Nullable(now.Add(-req.Late))).
		Order(s.ready()).Limit(req.Limit))
	if err != nil {
		return out, fmt.Errorf("find due connections of app %s: %w", req.App, err)
	}
	for _, c := range rows {
		claim, err := s.Claim(ctx, req.claim(c))
		if err != nil {
			return out, err
		}
		if claim.Verdict == VerdictClaimed {
			out.Claims = append(out.Claims, claim)
		}
	}
	if len(out.Claims) == 0 {
		return out, nil
	}
	out.Beat++
	err = s.db.With(ctx).Exec(`UPDATE pacers SET beat = ? WHERE app = ? AND shard = ? AND shards = ?`, out.Beat, req.App, req.N, req.Of).Error
	if err != nil {
		return out, fmt.Errorf("note the beat of app %s: %w", req.App, err)
	}
	return out, nil
}

// givenOut bounds how many generations of one connection a restore can have taken back:
// at two an hour, three weeks.
const givenOut = 1000

// MarkRolledBack handles a database that went backwards while a pacer ran. Nobody knows
// which rows of the shard are behind, nor by how much. It marks each token as possibly
// spent, and raises the generation floor above every number that may have been given
// out. It sets the beat to the known one. It returns how many rows it marked; repeated
// with the same beat, it marks none.
func (s *Store) MarkRolledBack(ctx context.Context, shard Shard, beat int64) (marked int64, err error) {
	err = s.db.Durably(ctx, "mark the rows of app "+shard.App+" after a restore", func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		moved := tx.Exec(`UPDATE pacers SET beat = ?, updated_at = ? WHERE app = ? AND shard = ? AND shards = ? AND beat < ?`, beat, db.Nullable(now), shard.App, shard.N, shard.Of, beat)
		if moved.Error != nil || moved.RowsAffected == 0 {
			return moved.Error
		}
		marked, err = s.markRolledBack(tx, func(q *gorm.DB) *gorm.DB {
			q = q.Where("c.app = ?", shard.App)
			if s.db.Dialect == schema.Postgres {
				q = q.Where(shardOf, shard.Of, shard.N)
			}
			return q
		})
		return err
	})
	return marked, err
}

// markRolledBack marks the live rows that narrow chooses.
func (s *Store) markRolledBack(tx *gorm.DB, narrow func(*gorm.DB) *gorm.DB) (int64, error) {
	now, err := s.db.Clock(tx)
	if err != nil {
		return 0, err
	}
	set := map[string]any{"generation_floor": gorm.Expr("generation + ?", givenOut), "updated_at": db.Nullable(now)}
	if !seam.Off(seam.AmbiguityMemory) {
		set["ambiguous_since"], set["ambiguous_digest"] = db.Nullable(now), gorm.Expr("refresh_token_digest")
	}
	done := narrow(tx.Table("connections AS c").Where("c.status <> 'disconnected' AND c.generation_floor < c.generation + ?", givenOut)).Updates(set)
	return done.RowsAffected, done.Error
}

// Due counts the connections that [Store.ClaimDue] would claim now, up to limit,
// without changing them, so that a pacer reserves no rate slots it does not need.
func (s *Store) Due(ctx context.Context, shard Shard, limit int) (int, error) {
	if s.db.Dialect != schema.Postgres {
		return limit, nil // a development database
	}
	var due int
	err := s.db.With(ctx).Raw(`WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT count(*) FROM (SELECT 1 FROM connections AS c, t WHERE `+dueRows+` LIMIT ?) AS due`, append(shard.due(0), limit)...).Scan(&due).Error
	if err != nil {
		return 0, fmt.Errorf("count due connections of app %s: %w", shard.App, err)
	}
	return due, nil
}

// Members returns a shard's active connections with ids above the given one, ordered by
// id, at most limit.
func (s *Store) Members(ctx context.Context, shard Shard, after string, limit int) ([]perennial.Connection, error) {
	q := s.db.With(ctx).Table("connections AS c").Where("c.app = ? AND c.status = 'active' AND c.id > ?", shard.App, after)
	if s.db.Dialect == schema.Postgres {
		q = q.Where(shardOf, shard.Of, shard.N)
	}
	rows, err := readConnections(q.Order("c.id").Limit(limit))
	return rows, db.Wrap("list the connections of app "+shard.App, err)
}

// TakeSlots reserves up to n rate slots of an app with a limit of rate requests a
// second, as [Store.Admit] reserves one: the first at least lead ahead, none more than
// ahead. It returns the time of the first slot and the gap between slots. taken is 0 if
// connections wait in the queue, or during a slow-down or a stop: then each connection must ask
// for itself.
func (s *Store) TakeSlots(ctx context.Context, appName string, rate float64, lead, ahead time.Duration, n int) (first time.Time, gap time.Duration, taken int, err error) {
	err = s.db.Durably(ctx, "take slots of app "+appName, func(tx *gorm.DB) error {
		now, err := s.db.Clock(tx)
		if err != nil {
			return err
		}
		app, now, err := s.lockApp(tx, appName, now)
		if err != nil {
			return err
		}
		if app.StoppedAt != nil || db.Time(app.SlowUntil).After(now) || db.Time(app.BacklogAt).After(now) {
			return nil
		}
		gap = time.Duration(spacing / rate * float64(time.Second))
		first = latest(db.Time(app.SlotAt), now.Add(lead))
		room := now.Add(ahead).Sub(first)
		if room < 0 {
			return nil
		}
		taken = min(n, int(room/gap)+1)
		return updateApp(tx, app.App, now, columns{"slot_at": db.Nullable(first.Add(time.Duration(taken) * gap))})
	})
	return first, gap, taken, err
}

// LedgerSummary sums up a connection's attempts between two reads by its workflow.
type LedgerSummary struct {
	From      time.Time     `json:"from"`
	To        time.Time     `json:"to"`
	Refreshed int           `json:"refreshed"`            // generations gained
	Failed    int           `json:"failed,omitempty"`     // attempts without a new token set
	MinLife   time.Duration `json:"least_life,omitempty"` // shortest remaining life at the start of a refresh
}

// SummarizeLedger sums up a connection's ledger from a time until to, the database's
// now.
func (s *Store) SummarizeLedger(ctx context.Context, id string, from, to time.Time) (LedgerSummary, error) {
	d := LedgerSummary{From: from, To: to}
	var sum struct {
		Refreshed, Failed int
		Least             int64
	}
	err := s.db.With(ctx).Raw(`SELECT COALESCE(SUM(CASE WHEN outcome = 'refreshed' THEN 1 ELSE 0 END), 0) AS refreshed,
		COALESCE(SUM(CASE WHEN outcome <> 'refreshed' THEN 1 ELSE 0 END), 0) AS failed, COALESCE(MIN(life_left_ms), 0) AS least
		FROM attempts WHERE connection_id = ? AND started_at > ? AND started_at <= ?`, id, db.Nullable(from), db.Nullable(to)).Scan(&sum).Error
	if err != nil {
		return d, fmt.Errorf("sum up the ledger of connection %s: %w", id, err)
	}
	d.Refreshed, d.Failed, d.MinLife = sum.Refreshed, sum.Failed, time.Duration(sum.Least)*time.Millisecond
	return d, nil
}
