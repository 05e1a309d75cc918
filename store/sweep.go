package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/outbox"
	"github.com/perennial-oauth/perennial/schema"
	"gorm.io/gorm"
)

// Overdue returns active connections whose due time and waits ended more than grace
// ago, at most limit: their workflow has missed them. For an open attempt its deadline
// counts. The apps alternate, each with its earliest due time first, so that an app
// whose provider is down does not hide the others.
func (s *Store) Overdue(ctx context.Context, grace time.Duration, limit int) ([]perennial.Connection, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	past := db.Nullable(now.Add(-grace))
	q := s.db.With(ctx)
	var apps [][]string // the ids of each app
	for app := ""; ; {
		var next, overdue []string
		if err := q.Raw("SELECT app FROM connections WHERE status = 'active' AND app > ? ORDER BY app LIMIT 1", app).Scan(&next).Error; err != nil {
			return nil, fmt.Errorf("sweep the connections: %w", err)
		}
		if len(next) == 0 {
			break
		}
		app = next[0]
		err := q.Table("connections AS c").Where("c.status = 'active' AND c.app = ? AND c.next_refresh_at IS NOT NULL AND "+s.ready()+" <= ?", app, past).
			Where("(c.confirm_at IS NULL OR c.confirm_at <= ?) AND (c.attempt_deadline IS NULL OR c.attempt_deadline <= ?)", past, past).
			Order(s.ready()).Limit(limit).Pluck("c.id", &overdue).Error
		if err != nil {
			return nil, fmt.Errorf("sweep the connections of app %s: %w", app, err)
		}
		apps = append(apps, overdue)
	}
	ids := inTurns(apps, limit)
	out, err := s.swept(q.Where("id IN ?", ids), limit)
	turn := map[string]int{}
	for i, id := range ids {
		turn[id] = i
	}
	slices.SortFunc(out, func(a, b perennial.Connection) int { return turn[a.ID] - turn[b.ID] })
	return out, err
}

// ready returns the SQL for the time from which c can be refreshed.
func (s *Store) ready() string {
	if s.db.Dialect == schema.SQLite {
		return "max(c.next_refresh_at, COALESCE(c.next_attempt_at, c.next_refresh_at))"
	}
	return ready
}

// inTurns returns the first of each list, then the second of each, and so on, at most
// limit.
func inTurns(lists [][]string, limit int) (out []string) {
	for i, more := 0, true; more; i++ {
		more = false
		for _, list := range lists {
			if i < len(list) && len(out) < limit {
				out, more = append(out, list[i]), true
			}
		}
	}
	return out
}

// InDoubt returns active connections that are not due and still need attention: with a
// lost attempt, an unconfirmed refusal or a failure whose waits ended more than grace
// ago, or with an impossible due time or wait (timing.ImplausibleDue, and waits beyond
// [perennial.MaxWait]). It also returns a paused one whose keep-alive is an hour late.
// It reads one page: at most limit rows, with ids above the given one.
func (s *Store) InDoubt(ctx context.Context, grace time.Duration, after string, limit int) ([]perennial.Connection, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	past := db.Nullable(now.Add(-grace))
	day, half := 24*time.Hour, 30*time.Minute
	active := s.db.With(ctx).Where("next_refresh_at IS NULL").
		Or("next_refresh_at > "+s.earlier("last_refreshed_at", day)+" AND (refresh_token_expires_at IS NULL OR "+s.pastHalf()+")", db.Nullable(now), db.Nullable(now.Add(day)), db.Nullable(now), db.Nullable(now)).
		Or("cadence <> 'on_use' AND expires_at IS NULL AND next_refresh_at > "+s.earlier("last_refreshed_at", half), db.Nullable(now), db.Nullable(now.Add(half))).
		Or("cadence <> 'on_use' AND next_refresh_at > expires_at").
		Or("next_attempt_at > ?", db.Nullable(now.Add(perennial.MaxWait))).
		Or("confirm_at > ?", db.Nullable(now.Add(perennial.MaxWait))).
		Or("attempt_deadline > ?", db.Nullable(now.Add(perennial.MaxLease))).
		Or("(failure_count > 0 OR suspect_since IS NOT NULL OR ambiguous_since IS NOT NULL OR attempt_id <> '')"+
			" AND (next_attempt_at IS NULL OR next_attempt_at <= ?) AND (confirm_at IS NULL OR confirm_at <= ?) AND (attempt_deadline IS NULL OR attempt_deadline <= ?)", past, past, past)
	late := now.Add(-time.Hour)
	paused := s.db.With(ctx).Where("refresh_token_expires_at IS NULL AND last_refreshed_at <= ?", db.Nullable(late.Add(-pausedBlindRest))).
		Or("last_refreshed_at <= ?", db.Nullable(late.Add(-pausedRest))).
		Or(s.halfway("last_refreshed_at", "refresh_token_expires_at"), db.Nullable(late), db.Nullable(late))
	q := s.db.With(ctx).Where("id > ?", after).
		Where(s.db.With(ctx).Where("status = 'active'").Where(active).Or(s.db.With(ctx).Where("status = 'paused' AND (next_attempt_at IS NULL OR next_attempt_at <= ?)", past).Where(paused)))
	return s.swept(q.Order("id"), limit)
}

// earlier returns the SQL for min(column, now) + d. Its arguments are now and now + d.
func (s *Store) earlier(column string, d time.Duration) string {
	if s.db.Dialect == schema.SQLite {
		return fmt.Sprintf("(CASE WHEN %[1]s <= ? THEN strftime('%%Y-%%m-%%d %%H:%%M:%%f', %[1]s, '+%[2]d seconds') || '+00:00' ELSE ? END)", column, int(d.Seconds()))
	}
	return fmt.Sprintf("(CASE WHEN %[1]s <= ? THEN %[1]s + interval '%[2]d seconds' ELSE ? END)", column, int(d.Seconds()))
}

// pastHalf returns the SQL for "due after half of the refresh token's life unused". Its
// arguments are now, twice.
func (s *Store) pastHalf() string {
	from := s.earlier("last_refreshed_at", 0)
	if s.db.Dialect == schema.SQLite {
		return "julianday(next_refresh_at) - julianday" + from + " > julianday(refresh_token_expires_at) - julianday(next_refresh_at)"
	}
	return "next_refresh_at - " + from + " > refresh_token_expires_at - next_refresh_at"
}

// The longest times between two refreshes of a paused connection, as the engine defines
// them: with a known idle life, and without.
const (
	pausedRest      = 30 * 24 * time.Hour
	pausedBlindRest = 7 * 24 * time.Hour
)

// halfway returns the SQL for "the argument, given twice, is past the middle between
// from and to".
func (s *Store) halfway(from, to string) string {
	if s.db.Dialect == schema.SQLite {
		return fmt.Sprintf("julianday(%s) - julianday(?) <= julianday(?) - julianday(%s)", to, from)
	}
	return fmt.Sprintf("%s - ?::timestamptz <= ?::timestamptz - %s", to, from)
}

func (s *Store) swept(q *gorm.DB, limit int) ([]perennial.Connection, error) {
	rows, err := readConnections(q.Limit(limit))
	return rows, db.Wrap("sweep the connections", err)
}

// warnAt has the numbers of days before an end at which a warning is emitted, smallest
// first.
var warnAt = []int{1, 7, 30}

// Warn emits connection.expiring_soon for every live connection whose refresh token's
// idle end, or whose grant's end, is 30, 7 or 1 days away: once for each threshold and
// each end. It returns how many events it emitted.
func (s *Store) Warn(ctx context.Context, limit int) (int, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	soon := db.Nullable(now.AddDate(0, 0, warnAt[len(warnAt)-1]))
	q := s.db.With(ctx).Where("status IN ('active', 'paused')").Where(
		s.db.With(ctx).Where("grant_expires_at <= ? AND (grant_warned_days <> 1 OR grant_warned_for IS NULL OR grant_warned_for <> grant_expires_at)", soon).
			Or("refresh_token_expires_at <= ? AND (idle_warned_days <> 1 OR idle_warned_for IS NULL OR idle_warned_for <> refresh_token_expires_at)", soon))
	rows, err := s.swept(q.Order("id"), limit)
	if err != nil {
		return 0, err
	}
	warned := 0
	for _, c := range rows {
		n, err := s.warn(ctx, c.ID)
		if err != nil {
			return warned, err
		}
		warned += n
	}
	return warned, nil
}

func (s *Store) warn(ctx context.Context, id string) (warned int, err error) {
	_, err = s.locked(ctx, perennial.WorkerAccess(), id, func(tx *gorm.DB, c perennial.Connection, now time.Time) error {
		for _, w := range []struct {
			clock  string
			column string
			end    time.Time
			before perennial.Warning
		}{
			{"refresh_token", "idle", c.RefreshTokenExpiresAt, c.IdleWarning},
			{"grant", "grant", c.GrantExpiresAt, c.GrantWarning},
		} {
			days := warning(w.end, w.before, now)
			if days == 0 {
				continue
			}
			e := connectionEvent(perennial.EventExpiringSoon, c)
			e.Data.Clock, e.Data.Days, e.Data.EndsAt = w.clock, days, w.end
			err := errorsOf(update(tx, id, now, columns{w.column + "_warned_days": days, w.column + "_warned_for": db.Nullable(w.end)}), outbox.Append(tx, e, now))
			if err != nil {
				return err
			}
			warned++
		}
		return nil
	})
	return warned, err
}

// warning returns the threshold that is due for an end, 0 for none. before is the last
// warning emitted.
func warning(end time.Time, before perennial.Warning, now time.Time) int {
	if end.IsZero() || !end.After(now) {
		return 0
	}
	days := within(end.Sub(now))
	same := before.For.Sub(end).Abs() < stillThere
	if same && before.Days > 0 && before.Days <= days {
		return 0
	}
	return days
}

// within returns the smallest threshold that d does not exceed, 0 for none.
func within(d time.Duration) int {
	for _, days := range warnAt {
		if d <= time.Duration(days)*24*time.Hour {
			return days
		}
	}
	return 0
}

// stillThere is by how much an end that a provider states as a countdown may differ
// between two readings and still count as the same.
const stillThere = time.Hour

// warnedColumns handles a clock that was set anew. If its whole life lies within a
// threshold, passing that threshold is no reason to warn, and the columns mark it as
// warned. An end that did not move keeps its warnings.
func warnedColumns(clock string, was, end, now time.Time) columns {
	if end.IsZero() || end.Sub(was) < stillThere {
		return nil
	}
	return columns{clock + "_warned_days": within(end.Sub(now)), clock + "_warned_for": db.Nullable(end)}
}

// Prune deletes ledger lines, settled events and recorded refusals that are older than
// keep, at most limit of each; also tombstones older than 400 days, kept replies that a
// newer token set made useless, and processes that ended without a word a week ago. It returns how many.
func (s *Store) Prune(ctx context.Context, keep time.Duration, limit int) (int64, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	old := now.Add(-keep)
	deleted, err := outbox.Prune(s.db.With(ctx), old, limit)
	if err != nil {
		return deleted, err
	}
	for _, prune := range []struct {
		statement string
		before    time.Time
	}{
		{"DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE started_at < ? LIMIT ?)", old},
		{"DELETE FROM first_refusals WHERE (app, connection_id) IN (SELECT app, connection_id FROM first_refusals WHERE refused_at < ? LIMIT ?)", old},
		{"DELETE FROM failures WHERE (app, host, connection_id) IN (SELECT app, host, connection_id FROM failures WHERE failed_at < ? LIMIT ?)", latest(old, now.Add(-lately))},
		{"DELETE FROM tombstones WHERE connection_id IN (SELECT connection_id FROM tombstones WHERE written_at < ? LIMIT ?)", now.Add(-max(keep, tombstoneKeep))},
		{"DELETE FROM kept_replies WHERE connection_id IN (SELECT connection_id FROM kept_replies WHERE kept_at <= ? AND NOT " + ofRow + " LIMIT ?)", now},
		{"DELETE FROM spare_sets WHERE connection_id IN (SELECT connection_id FROM spare_sets WHERE received_at <= ? AND NOT " + besideRow + " LIMIT ?)", now},
		{"DELETE FROM processes WHERE id IN (SELECT id FROM processes WHERE reported_at < ? LIMIT ?)", now.Add(-processKeep)},
	} {
		result := s.db.With(ctx).Exec(prune.statement, db.Nullable(prune.before), limit)
		if result.Error != nil {
			return deleted, fmt.Errorf("delete what is past its retention: %w", result.Error)
		}
		deleted += result.RowsAffected
	}
	return deleted, nil
}
