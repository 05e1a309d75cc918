package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/internal/db"
)

// Process is the last report of a running process.
type Process struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"` // worker, server or direct
	Host      string `json:"host"`
	Version   string `json:"version"`
	Revision  int    `json:"revision"` // of the workflows' steps that it knows
	TaskQueue string `json:"task_queue"`
	// Keys has the ids of the keys that it can open, by field, the primary first.
	Keys        map[string][]uint32 `json:"keys"`
	ClockOffset time.Duration       `json:"clock_offset"` // of its clock to the database's
	SpoolSets   int                 `json:"spool_sets"`
	Binding     string              `json:"binding"` // the state that it found, of database and Temporal
	StartedAt   time.Time           `json:"started_at"`
	ReportedAt  time.Time           `json:"reported_at"`
}

// Alive reports whether the process has reported of late.
func (p Process) Alive(now time.Time) bool { return p.ReportedAt.After(now.Add(-processAlive)) }

const (
	processAlive = 2 * time.Minute
	processKeep  = 7 * 24 * time.Hour // a stopped process stays listed
	maxProcesses = 1000               // those that live come first
)

var processes = table[Process]{"processes", []column[Process]{
	text("id", func(p *Process) *string { return &p.ID }),
	text("kind", func(p *Process) *string { return &p.Kind }),
	text("host", func(p *Process) *string { return &p.Host }),
	text("version", func(p *Process) *string { return &p.Version }),
	integer("revision", func(p *Process) *int { return &p.Revision }),
	text("task_queue", func(p *Process) *string { return &p.TaskQueue }),
	kind("keys", func(p *Process) *map[string][]uint32 { return &p.Keys }, parseKeys, keysText),
	milliseconds("clock_offset_ms", func(p *Process) *time.Duration { return &p.ClockOffset }),
	integer("spool_sets", func(p *Process) *int { return &p.SpoolSets }),
	text("binding", func(p *Process) *string { return &p.Binding }),
	instant("started_at", func(p *Process) *time.Time { return &p.StartedAt }),
	instant("reported_at", func(p *Process) *time.Time { return &p.ReportedAt }),
}}

func parseKeys(text string) (keys map[string][]uint32) {
	if json.Unmarshal([]byte(text), &keys) != nil {
		return nil // another program wrote it
	}
	return keys
}

func keysText(keys map[string][]uint32) any {
	out, err := json.Marshal(keys)
	if err != nil || keys == nil {
		return "{}"
	}
	return string(out)
}

// Report writes the process's row, with the database's clock as the time of the report.
func (s *Store) Report(ctx context.Context, p Process) error {
	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	p.ReportedAt = now
	err = processes.insert(s.db.With(ctx), p, `ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, host = excluded.host, version = excluded.version, revision = excluded.revision,
		task_queue = excluded.task_queue, keys = excluded.keys, clock_offset_ms = excluded.clock_offset_ms, spool_sets = excluded.spool_sets,
		binding = excluded.binding, started_at = excluded.started_at, reported_at = excluded.reported_at`)
	return db.Wrap("report process "+p.ID, err)
}

// Leave deletes the row of a process that ends.
func (s *Store) Leave(ctx context.Context, id string) error {
	return db.Wrap("delete process "+id, s.db.With(ctx).Exec("DELETE FROM processes WHERE id = ?", id).Error)
}

// Processes returns every process that has reported within a week and not left, newest
// report first, at most maxProcesses, and the database's clock.
func (s *Store) Processes(ctx context.Context) ([]Process, time.Time, error) {
	q := s.db.With(ctx)
	all, err := processes.find(q.Order("reported_at DESC, id").Limit(maxProcesses))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("list the processes: %w", err)
	}
	now, err := s.db.Clock(q)
	return all, now, err
}

// KindWorker is the kind of a process that runs the workflows' steps.
const KindWorker = "worker"

// NewestRevision returns the newest revision of the workflows' steps that every live
// worker of the task queue knows, 0 if none is alive. Other processes take no steps: an old
// one in a product holds nobody back.
func (s *Store) NewestRevision(ctx context.Context, taskQueue string) (int, error) {
	all, now, err := s.Processes(ctx)
	newest := 0
	for _, p := range all {
		if p.Kind == KindWorker && p.TaskQueue == taskQueue && p.Alive(now) && (newest == 0 || p.Revision < newest) {
			newest = p.Revision
		}
	}
	return newest, err
}
