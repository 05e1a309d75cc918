package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
)

// FastAdmitRequest asks the gate for a connection that the caller has not read. Rate,
// Patience and Lead are those of [AdmitRequest].
type FastAdmitRequest struct {
	ID             string
	Generation     int64
	App            string
	Trigger        perennial.Trigger // as in the claim
	Rate           float64
	Patience, Lead time.Duration
}

// FastAdmit is [Store.Admit] for a proven connection that [Store.FastClaim] would take, in an
// app with a limit of requests a second. One statement reserves a rate slot, or a place
// in the queue, which a second statement writes into the row. If ok is false, it does
// not apply: nothing was written, and the caller must use [Store.Admit].
func (s *Store) FastAdmit(ctx context.Context, req FastAdmitRequest) (a Admission, ok bool, err error) {
	if s.db.Dialect != schema.Postgres || req.Rate <= 0 || seam.Off(seam.Circuit) {
		return Admission{}, false, nil
	}
	var slotAt, backlogAt sql.NullTime
	var waited bool
	var now time.Time
	gap := time.Duration(spacing / req.Rate * float64(time.Second))
	statement := fastSlot
	if req.Trigger.ByCaller() {
		statement = fastSlotUnforced
	}
	err = s.db.SQL.QueryRowContext(ctx, statement, req.ID, req.Generation, req.App, req.App, req.Lead.Microseconds(), req.Patience.Microseconds(), gap.Microseconds()).
		Scan(&slotAt, &backlogAt, &waited, &now)
	if errors.Is(err, sql.ErrNoRows) {
		return Admission{}, false, nil
	}
	if err != nil {
		return Admission{}, false, fmt.Errorf("ask the gate of app %s: %w", req.App, err)
	}
	// Repeat in Go what the statement did with the values it found.
	at, admitted, _ := RateSlots{SlotAt: slotAt.Time.UTC(), BacklogAt: backlogAt.Time.UTC()}.Reserve(req.ID, waited, req.Rate, req.Patience, req.Lead, now.UTC())
	a = Admission{Now: now.UTC(), Admitted: admitted}
	if admitted {
		a.SlotAt = at
		return a, true, nil
	}
	a.RetryAt, a.Code = at.Truncate(time.Microsecond), CodeRateLimit
	a.Connection, err = s.fastPark(ctx, req, a)
	return a, true, err
}

// fastSlot is [RateSlots.Reserve] in SQL. It returns the values it found, so that the
// caller can tell what it did.
var (
	fastSlot         = fastSlotWhere(oneClaimable)
	fastSlotUnforced = fastSlotWhere(oneClaimable + ` AND ` + unforced)
)

func fastSlotWhere(where string) string {
	return numbered(`WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now),
c AS MATERIALIZED (SELECT c.queued_at IS NOT NULL AS waited FROM connections AS c, t WHERE ` + where + ` AND c.unproven_since IS NULL),
found AS MATERIALIZED (SELECT app, slot_at, backlog_at FROM apps WHERE app = ? AND EXISTS (SELECT 1 FROM c) FOR UPDATE),
asked AS (SELECT ?::bigint * interval '1 microsecond' AS lead, ?::bigint * interval '1 microsecond' AS patience, ?::bigint * interval '1 microsecond' AS gap),
slot AS (SELECT GREATEST(found.slot_at, t.now + asked.lead) AS at FROM found, t, asked),
turn AS (SELECT slot.at > t.now + asked.patience AS late,
	NOT c.waited AND (slot.at > t.now + asked.patience OR COALESCE(found.backlog_at > t.now + asked.patience, false)) AS queued,
	GREATEST(found.backlog_at, slot.at) AS at FROM found, slot, t, asked, c)
UPDATE apps SET updated_at = t.now,
	slot_at = CASE WHEN turn.queued OR turn.late THEN found.slot_at ELSE slot.at + asked.gap END,
	backlog_at = CASE WHEN turn.queued THEN turn.at + asked.gap ELSE found.backlog_at END
FROM found, slot, turn, asked, t, c WHERE apps.app = found.app
RETURNING found.slot_at, found.backlog_at, c.waited, t.now`)
}

// fastPark is [Store.park] in one statement, for a row that needs no other change: its
// token outlives the wait.
func (s *Store) fastPark(ctx context.Context, req FastAdmitRequest, a Admission) (perennial.Connection, error) {
	until := db.Nullable(a.RetryAt)
	c, ok, err := oneRow(ctx, s.db.SQL, connections, nil, fastParkStatement, until, until, req.ID, req.Generation, until, until)
	if err != nil {
		return perennial.Connection{}, fmt.Errorf("write connection %s: %w", req.ID, err)
	}
	if !ok {
		return s.park(ctx, req.ID, req.Generation, a)
	}
	return c, nil
}

var fastParkStatement = numbered(`WITH ` + durable + `, t AS MATERIALIZED (SELECT clock_timestamp() AS now)
UPDATE connections AS c SET next_attempt_at = ?, backoff_until = ?, queued_at = COALESCE(c.queued_at, t.now), updated_at = t.now
FROM durable, t WHERE c.id = ? AND c.generation = ? AND c.attempt_id = '' AND c.status = 'active' AND (c.expires_at IS NULL OR c.expires_at > ?)
	AND (c.next_attempt_at IS NULL OR c.next_attempt_at <= ?)
RETURNING ` + connections.list("c"))
