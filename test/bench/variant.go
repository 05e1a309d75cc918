package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/perennial-oauth/perennial"
)

// variant is one way to keep a fleet alive. A value is for one world.
type variant interface {
	temporal() bool // it needs a Temporal server
	// refreshesPerRun of a connection's workflow, after which it continues as new:
	// 0 where its history does not grow with them.
	refreshesPerRun() int
	// prepare makes its tables and files, before its worker starts.
	prepare(ctx context.Context, w *world) error
	// command is its worker process: it serves /readyz and /metrics at w.address.
	command(w *world) (program string, args []string, err error)
	// add makes one connection and what keeps it alive, and returns its id. It is
	// called by many at once.
	add(ctx context.Context, g grant) (id string, err error)
	// table holds the connections: id, generation, next_refresh_at.
	table() string
	// unwell is the SQL condition of a connection that is not looked after as it
	// should be.
	unwell() string
	workflowID(id string) string
	// lateness are the milliseconds by which refreshes since then began after
	// their due times.
	lateness(ctx context.Context, w *world, since time.Time) ([]float64, error)
}

// variants make each one anew.
var variants = map[string]func() variant{
	"naive":  func() variant { return &naive{} },
	"poller": func() variant { return &poller{} },
	"own":    func() variant { return &own{} },
	"pooled": func() variant { return &own{product: product{pace: "pooled"}} },
}

// overdue is the SQL condition of a refresh that has not come.
const overdue = "next_refresh_at < clock_timestamp() - interval '5 seconds'"

// grant is a consent's outcome, as a callback hands it on.
type grant struct {
	account         string
	access, refresh perennial.Secret
	obtained        time.Time
	life            time.Duration
}

// quiet logs nothing: the driver's own room.
var quiet = slog.New(slog.DiscardHandler)

// hidden is this program again, as one of its processes.
func hidden(args ...string) (string, []string, error) {
	self, err := os.Executable()
	return self, args, err
}
