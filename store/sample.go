package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
)

// The reads of this file are for people who ask how the fleet is. Each reads a bounded
// number of rows by an index, however many connections there are.

// Sample returns at most n connections of any status: half of them the newest, the rest
// from a random place in the order of the ids.
func (s *Store) Sample(ctx context.Context, n int) ([]perennial.Connection, error) {
	q := s.db.With(ctx)
	newest, err := readConnections(q.Order("id DESC").Limit((n + 1) / 2))
	if err != nil || len(newest) == 0 {
		return nil, db.Wrap("sample the connections", err)
	}
	var first []string
	if err := q.Raw("SELECT id FROM connections ORDER BY id LIMIT 1").Scan(&first).Error; err != nil || len(first) == 0 {
		return newest, db.Wrap("sample the connections", err)
	}
	last := newest[len(newest)-1].ID
	more, err := readConnections(q.Where("id >= ? AND id < ?", between(first[0], last), last).Order("id").Limit(n - len(newest)))
	return append(newest, more...), db.Wrap("sample the connections", err)
}

// between returns a random text in the order between two connection ids. Ids begin with
// the time of their creation (UUID version 7); of other ids it returns the first.
func between(first, last string) string {
	a, errA := uuid.Parse(strings.TrimPrefix(first, "con_"))
	b, errB := uuid.Parse(strings.TrimPrefix(last, "con_"))
	from, to := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8])
	if errA != nil || errB != nil || from >= to {
		return first
	}
	binary.BigEndian.PutUint64(a[:8], from+rand.Uint64N(to-from))
	clear(a[8:])
	return max(first, "con_"+a.String())
}

// FailingSample returns at most n failing connections.
func (s *Store) FailingSample(ctx context.Context, n int) ([]perennial.Connection, error) {
	out, err := readConnections(s.db.With(ctx).Where("health = 'failing' AND status = 'active'").Order("tenant_id, id").Limit(n))
	return out, db.Wrap("sample the failing connections", err)
}

// AppHosts returns the apps that connections name, each with its hosts: at most perApp
// of an app. The table apps knows only those with an incident.
func (s *Store) AppHosts(ctx context.Context, perApp int) (map[string][]string, error) {
	out := map[string][]string{}
	q := s.db.With(ctx)
	var at struct{ App, Host string }
	for where, args := "(app, host) > (?, ?)", []any{"", ""}; ; {
		var next []struct{ App, Host string }
		if err := q.Raw("SELECT app, host FROM connections WHERE "+where+" ORDER BY app, host LIMIT 1", args...).Scan(&next).Error; err != nil {
			return nil, fmt.Errorf("list the apps of the connections: %w", err)
		}
		if len(next) == 0 {
			return out, nil
		}
		at = next[0]
		out[at.App] = append(out[at.App], at.Host)
		where, args = "(app, host) > (?, ?)", []any{at.App, at.Host}
		if len(out[at.App]) >= perApp {
			where, args = "app > ?", []any{at.App}
		}
	}
}

// RefreshedBeside returns the connections that were refreshed beside Temporal within a
// time, among the newest n lines of the ledger, and when their last such refresh began.
func (s *Store) RefreshedBeside(ctx context.Context, within time.Duration, n int) (map[string]time.Time, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := attempts.find(s.db.With(ctx).Where("started_at > ?", db.Nullable(now.Add(-within))).Order("started_at DESC").Limit(n))
	if err != nil {
		return nil, fmt.Errorf("read the newest attempts: %w", err)
	}
	out := map[string]time.Time{}
	for _, a := range lines {
		if a.Trigger == perennial.TriggerFallback && a.Outcome == perennial.OutcomeRefreshed {
			out[a.ConnectionID] = latest(out[a.ConnectionID], a.StartedAt)
		}
	}
	return out, nil
}

// Suspects returns the active connections, of the first n that an index has, whose
// refresh token was refused once and whose confirmation is late by more than grace. It
// leaves out the sealed tokens.
func (s *Store) Suspects(ctx context.Context, grace time.Duration, n int) ([]perennial.Connection, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	cs, err := withoutSealed.find(s.db.With(ctx).Where("suspect_since IS NOT NULL").Order("app").Limit(n))
	past := now.Add(-grace)
	late := slices.DeleteFunc(cs, func(c perennial.Connection) bool {
		return c.Status != perennial.StatusActive || c.SuspectSince.After(past) || c.ConfirmAt.After(past) || c.NextAttemptAt.After(past)
	})
	return late, db.Wrap("read the refused connections", err)
}

// Queued counts the connections of an app that wait for its circuit or its limit, up to
// limit. An empty host means every host.
func (s *Store) Queued(ctx context.Context, app, host string, limit int) (n int64, err error) {
	waiting := s.db.With(ctx).Table("connections").Select("id").Where("app = ? AND queued_at IS NOT NULL", app).Limit(limit)
	if host != "" {
		waiting = waiting.Where("host = ?", host)
	} else {
		waiting = waiting.Order("next_attempt_at, id") // the order of the index, so that it is read up to the limit only
	}
	err = s.db.With(ctx).Table("(?) AS waiting", waiting).Count(&n).Error
	return n, db.Wrap("count the waiting connections of app "+app, err)
}

// AppsWithIncidents returns the apps, at most limit, with an open circuit, a slow-down, a
// refusal hold, a release under way or a stop. Of the circuits it returns those that are open or
// slowed down, at most limit in all. The numbers of connections stay zero.
func (s *Store) AppsWithIncidents(ctx context.Context, limit int) ([]AppState, error) {
	now, err := s.Now(ctx)
	if err != nil {
		return nil, err
	}
	q, at := s.db.With(ctx), db.Nullable(now)
	var circuits []circuitRow
	if err := q.Where("reason <> '' OR slow_until > ?", at).Order("app, host").Limit(limit).Find(&circuits).Error; err != nil {
		return nil, fmt.Errorf("read the circuits: %w", err)
	}
	var rows []appRow
	if err := q.Where("hold_terminal OR slow_until > ? OR release_until > ? OR stopped_at IS NOT NULL", at, at).Order("app").Limit(limit).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the apps: %w", err)
	}
	return statesOf(rows, circuits), nil
}

// statesOf gives each circuit to its app, one of the rows or another.
func statesOf(rows []appRow, circuits []circuitRow) (out []AppState) {
	of := map[string]int{}
	for _, r := range rows {
		of[r.App] = len(out)
		out = append(out, r.state())
	}
	for _, c := range circuits {
		i, known := of[c.App]
		if !known {
			i = len(out)
			of[c.App] = i
			out = append(out, AppState{App: c.App, Circuits: []Circuit{}})
		}
		out[i].Circuits = append(out[i].Circuits, c.circuit())
	}
	return out
}
