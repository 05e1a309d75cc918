package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/perennial-oauth/perennial"
)

// variant is one way to keep a fleet alive. Each value belongs to one world.
type variant interface {
	temporal() bool // reports whether it needs a Temporal server
	// refreshesPerRun returns after how many refreshes a connection's workflow
	// continues as new; 0 if its history does not grow with them.
	refreshesPerRun() int
	// prepare creates its tables and files, before its worker starts.
	prepare(ctx context.Context, w *world) error
	// command returns its worker process, which serves /readyz and /metrics at
	// w.address.
	command(w *world) (program string, args []string, err error)
	// add creates one connection, and whatever keeps it alive, and returns its id. It
	// is safe for concurrent use.
	add(ctx context.Context, g grant) (id string, err error)
	// table returns the name of the table of connections, with id, generation and
	// next_refresh_at.
	table() string
	// unwell returns the SQL condition of a connection that is not refreshed as it
	// should be.
	unwell() string
	workflowID(id string) string
	// lateness returns how many milliseconds after its due time each refresh since then
	// began.
	lateness(ctx context.Context, w *world, since time.Time) ([]float64, error)
}

// variants creates each variant.
var variants = map[string]func() variant{
	"naive":  func() variant { return &naive{} },
	"poller": func() variant { return &poller{} },
	"own":    func() variant { return &own{} },
	"pooled": func() variant { return &own{product: product{pace: "pooled"}} },
}

// overdue is the SQL condition of a refresh that is missing.
const overdue = "next_refresh_at < clock_timestamp() - interval '5 seconds'"

// grant is the result of a consent, as a callback returns it.
type grant struct {
	account         string
	tenant          string // empty: they all have one
	access, refresh perennial.Secret
	obtained        time.Time
	life            time.Duration
}

// quiet discards logs, so that logging costs the driver nothing.
var quiet = slog.New(slog.DiscardHandler)

// hidden returns the command that starts this program as one of its processes.
func hidden(args ...string) (string, []string, error) {
	self, err := os.Executable()
	return self, args, err
}
