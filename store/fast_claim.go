package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
)

// Nearly every refresh meets a healthy connection of a healthy app. For it, reading the
// row, asking the gate and taking the fence are one statement, and saving is another.
// The WHERE clause of the first is oneClaimable; that of the second repeats every
// condition of [Store.Save]. A statement whose WHERE clause matches nothing has written
// nothing; then the slow path decides: the gate, the fence and Save. PostgreSQL checks
// the WHERE clause again once it holds the row's lock.

// FastClaim asks the gate and takes the fence in one statement, for a connection that
// is healthy or only waited at the gate. If ok is false, the statement does not apply:
// nothing was written, and the caller must use [Store.Get], [Store.Admit] and
// [Store.Claim]. If the app has a limit of requests a second, the caller first needs a
// rate slot from [Store.FastAdmit].
func (s *Store) FastClaim(ctx context.Context, app string, req ClaimRequest) (claim Claim, ok bool, err error) {
	if s.db.Dialect != schema.Postgres || req.AttemptID == "" || req.Lease <= 0 ||
		seam.Off(seam.ClaimBeforeSpend) || seam.Off(seam.Fence) || seam.Off(seam.Circuit) {
		return Claim{}, false, nil
	}
	var now time.Time
	statement := fastClaim
	if req.Trigger.ByCaller() {
		statement = fastClaimUnforced
	}
	c, ok, err := oneRow(ctx, s.db.SQL, connections, &now, statement, req.AttemptID, req.Lease.Microseconds(), string(req.Trigger), req.ID, req.Generation, app)
	if err != nil {
		return Claim{}, false, fmt.Errorf("claim connection %s: %w", req.ID, err)
	}
	if !ok {
		return Claim{}, false, nil
	}
	return Claim{Verdict: VerdictClaimed, Connection: c, Now: now.UTC()}, true, nil
}

// durable makes the commit of a statement's own transaction wait for the disk, whatever
// the server's default.
const durable = `durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true))`

// The time is read before the lock is taken. A start that is too early shortens a life
// and a lease, never lengthens them.
var (
	fastClaim         = fastClaimWhere(oneClaimable)
	fastClaimUnforced = fastClaimWhere(oneClaimable + ` AND ` + unforced)
)

func fastClaimWhere(where string) string {
	return numbered(`WITH ` + durable + `, t AS MATERIALIZED (SELECT clock_timestamp() AS now)
UPDATE connections AS c SET attempt_id = ?, ` + opensAttempt + `
FROM durable, t WHERE ` + where + `
RETURNING ` + connections.list("c") + `, t.now AS now`)
}

// fastSave is [Store.Save] for a row that nobody has written since this attempt claimed
// it. The claimed row alone then determines what to write.
func (s *Store) fastSave(ctx context.Context, req SaveRequest) (saved SaveResult, ok bool, err error) {
	seen := req.Claimed
	if s.db.Dialect != schema.Postgres || seen.ID != req.ID || seen.Status != perennial.StatusActive || seen.Health != perennial.HealthHealthy ||
		req.FailingCode != "" || req.MissingScopes != nil || seen.Generation != req.Generation || checkNext(seen, req.NewGeneration) != nil || seen.RefreshTokenDigest != req.Digest || seam.Off(seam.DigestGuard) {
		return SaveResult{}, false, nil
	}
	set := saveColumns(seen, req, seen.Open.StartedAt)
	delete(set, "last_refreshed_at")       // the statement sets its own time
	names := slices.Sorted(maps.Keys(set)) // in a fixed order, so that the statement is prepared once
	args := make([]any, 0, len(names)+32)
	var text strings.Builder
	text.WriteString("WITH " + durable + ", t AS MATERIALIZED (SELECT clock_timestamp() AS now), saved AS (UPDATE connections AS c SET last_refreshed_at = t.now, updated_at = t.now")
	for _, name := range names {
		text.WriteString(", " + name + " = ?")
		args = append(args, set[name])
	}
	text.WriteString(saveOnly)
	args = append(args, req.ID, req.Generation, req.Digest, req.AttemptID, db.Nullable(seen.UpdatedAt))
	args = append(args, attempts.values(ledgerLine(req.Ledger, req.ID, req.AttemptID))...)

	var c perennial.Connection
	write := func(q querier) (err error) {
		if c, ok, err = oneRow(ctx, q, withoutSealed, nil, numbered(text.String()), args...); err != nil {
			return fmt.Errorf("save connection %s: %w", req.ID, err)
		}
		return nil
	}
	if seam.Waits { // a place for faults before the commit
		err = s.db.With(ctx).Transaction(func(tx *gorm.DB) error {
			err := write(tx.Statement.ConnPool)
			if err == nil && ok {
				seam.At(seam.BeforeCommit, req.ID)
			}
			return err
		})
	} else {
		err = write(s.db.SQL)
	}
	if err != nil || !ok {
		return SaveResult{}, false, err
	}
	c.AccessTokenSealed, c.RefreshTokenSealed = req.AccessTokenSealed, req.RefreshTokenSealed
	s.successes.note(c.App, c.Host, c.LastRefreshedAt)
	return SaveResult{Stored: true, Connection: c}, true, nil
}

// saveOnly is the end of the statement of fastSave: its guards, the ledger line, and the
// row as it is then.
var saveOnly = ` FROM durable, t WHERE c.id = ? AND c.generation = ? AND c.refresh_token_digest = ? AND c.status = 'active' AND c.attempt_id = ? AND c.updated_at = ?
RETURNING ` + withoutSealed.list("c") + `),
line AS (INSERT INTO attempts (` + strings.Join(attempts.names(), ", ") + `) SELECT ` + attempts.marks() + ` FROM saved ON CONFLICT DO NOTHING)
SELECT ` + withoutSealed.list("saved") + ` FROM saved`

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// oneRow reads the columns of t from the first row that a statement returns and, unless
// last is nil, the column after them into last.
func oneRow(ctx context.Context, q querier, t table[perennial.Connection], last any, statement string, args ...any) (c perennial.Connection, ok bool, err error) {
	rows, err := q.QueryContext(ctx, statement, args...)
	if err != nil {
		return c, false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return c, false, rows.Err()
	}
	var more []any
	if last != nil {
		more = append(more, last)
	}
	if c, err = t.scan(rows, more...); err != nil {
		return c, false, err
	}
	return tidy(c), true, errors.Join(rows.Close(), rows.Err())
}

// numbered turns each ? into PostgreSQL's $1, $2, ...
func numbered(statement string) string {
	parts := strings.Split(statement, "?")
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteString("$" + strconv.Itoa(i))
		}
		b.WriteString(part)
	}
	return b.String()
}

// fastMarkSending is [Store.MarkSending] in one statement. It does not change
// updated_at, so that the following save still finds the row as it was claimed.
func (s *Store) fastMarkSending(ctx context.Context, id, attemptID string) (ok bool, err error) {
	if s.db.Dialect != schema.Postgres {
		return false, nil
	}
	result := s.db.With(ctx).Exec(`WITH `+durable+` UPDATE connections SET attempt_sent = true FROM durable
		WHERE id = ? AND attempt_id = ? AND attempt_deadline > clock_timestamp()`, id, attemptID)
	if result.Error != nil {
		return false, fmt.Errorf("mark attempt %s of connection %s as sending: %w", attemptID, id, result.Error)
	}
	return result.RowsAffected == 1, nil
}
