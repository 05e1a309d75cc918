package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/metrics"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.temporal.io/sdk/client"
)

// Health serves /healthz (the process lives), /readyz and /metrics.
//
// /readyz fails for reasons of this process alone: it has not started, it is stopping,
// its program does not fit the schema, its database does not belong to its Temporal, it
// has no keys. A server that all processes
// share makes none of them unready. Otherwise an outage of it would take every process
// out of its Service at once, even for the work that is still possible, and callers
// would get no answer instead of one that says what to do. /readyz?verbose lists the
// shared servers too, and on a worker the connections that nobody refreshes in time; perennial_database_up and perennial_temporal_up show them.
//
// No probe waits for a server: it reports a state that a background check found, at
// most lookEvery ago.
type Health struct {
	checks
	listener   net.Listener
	server     *http.Server
	stopChecks func()
}

// checks knows the state of the process. It is safe for concurrent use.
type checks struct {
	checkSchema   func(context.Context) error // perennial.CodeSchema: out of range; any other error: the database does not answer
	checkTemporal func(context.Context) error
	binding       func() (BindingState, string) // nil: this process was not bound
	missingKeys   []string
	log           *slog.Logger

	started, draining atomic.Bool
	schema            atomic.Pointer[string] // what is wrong with the schema; nil: nothing
	database          since                  // since when it has not answered
	temporal          since
	answer            atomic.Pointer[string]        // Temporal's last answer; see answerOf
	neglected         atomic.Pointer[func() string] // of a worker: what is wrong with its connections
}

// since is when a server stopped answering, or doing what we ask; zero: it is well.
type since struct{ atomic.Pointer[time.Time] }

func (s *since) up() bool { return s.Load() == nil }

const (
	// probeTimeout bounds one check of a server.
	probeTimeout = 3 * time.Second
	lookEvery    = 2 * time.Second
)

// ServeHealth serves health checks and the metrics of registry at listen. It adds
// metrics for whether the database and Temporal answer. /readyz fails until
// [Health.Started].
func ServeHealth(listen string, deps *Deps, t client.Client, registry *prometheus.Registry) (*Health, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for health checks (set PERENNIAL_LISTEN, or PERENNIAL_SERVER_HEALTH for a server): %w", err)
	}
	h := newHealth(l, deps, t)
	metrics.RegisterServers(registry, h.database.up, h.temporal.up)
	mux := http.NewServeMux()
	// Metrics that cannot be read while the database is away must not hide the others.
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", h.ready)
	h.server = &http.Server{Handler: mux, ReadHeaderTimeout: probeTimeout}
	stopSchema := inBackground(context.Background(), func(ctx context.Context) { every(ctx, lookEvery, h.lookAtDatabase) })
	stopTemporal := inBackground(context.Background(), func(ctx context.Context) { every(ctx, lookEvery, h.lookAtTemporal) })
	h.stopChecks = func() { stopSchema(); stopTemporal() }
	go func() {
		if err := h.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			deps.Log.Error("health checks are not served any more", "error", err)
		}
	}()
	return h, nil
}

// newHealth returns a Health that nothing runs yet.
func newHealth(l net.Listener, deps *Deps, t client.Client) *Health {
	h := &Health{listener: l, checks: checks{log: deps.Log, checkSchema: deps.Store.CheckSchema}}
	h.checkTemporal = func(ctx context.Context) error {
		return askTemporal(ctx, t, deps.Config.TaskQueue)
	}
	if deps.binding != nil {
		h.binding = deps.binding.State
	}
	for _, field := range seal.Fields {
		if !deps.Keyring.CanOpen(field) {
			h.missingKeys = append(h.missingKeys, string(field))
		}
	}
	return h
}

// every runs do now and at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		do(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// lookAtDatabase checks the schema again, because a migration may have run beneath the
// process. A database that does not answer says nothing about its schema, so the last
// result stays.
func (c *checks) lookAtDatabase(ctx context.Context) {
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := c.checkSchema(probe)
	if perennial.CodeOf(err) == perennial.CodeSchema {
		if wrong := err.Error(); c.schema.Swap(&wrong) == nil {
			c.log.Error("not ready", "error", err)
		}
		err = nil
	} else if err == nil && c.schema.Swap(nil) != nil {
		c.log.Info("the schema is in range again")
	}
	c.note(ctx, &c.database, "the database", err)
}

func (c *checks) lookAtTemporal(ctx context.Context) {
	probe, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := c.checkTemporal(probe)
	answer := answerOf(err)
	c.answer.Store(&answer)
	if err != nil && answer != noAnswer {
		err = errors.New("it answers " + answer) // its text may repeat what was sent
	}
	c.note(ctx, &c.temporal, "Temporal", err)
}

// note records since when a server has not answered, and logs each change once.
func (c *checks) note(ctx context.Context, s *since, name string, err error) {
	switch now := time.Now(); {
	case ctx.Err() != nil: // the process is ending
	case err == nil && s.Swap(nil) != nil:
		c.log.Info(name + " answers again")
	case err != nil && s.CompareAndSwap(nil, &now):
		c.log.Warn(name+" does not answer", "error", err)
	}
}

// check is a line of /readyz?verbose.
type check struct {
	name  string
	wrong string // empty if nothing is
	fatal bool   // this makes the process unready
}

func (c *checks) list() []check {
	var out []check
	add := func(name string, fatal, wrong bool, what string) {
		if !wrong {
			what = ""
		}
		out = append(out, check{name, what, fatal})
	}
	if c.binding != nil {
		state, reason := c.binding()
		add("binding", true, !state.Presents(), reason)
	}
	add("started", true, !c.started.Load(), "starting")
	add("accepting", true, c.draining.Load(), "stopping")
	schema := c.schema.Load()
	out = append(out, check{name: "schema", fatal: true})
	if schema != nil {
		out[len(out)-1].wrong = *schema
	}
	add("keys", true, len(c.missingKeys) > 0, "no keyset for the "+strings.Join(c.missingKeys, " and the "))
	for _, server := range []struct {
		name   string
		answer *string
		away   *time.Time
	}{{"database", nil, c.database.Load()}, {"temporal", c.answer.Load(), c.temporal.Load()}} {
		out = append(out, check{name: server.name})
		if server.away != nil {
			out[len(out)-1].wrong = answersSince(server.answer, *server.away)
		}
	}
	if wrong := c.neglected.Load(); wrong != nil {
		out = append(out, check{name: "refreshes", wrong: (*wrong)()})
	}
	return out
}

func (c *checks) ready(w http.ResponseWriter, r *http.Request) {
	verdict := "ready"
	var lines strings.Builder
	for _, check := range c.list() {
		if check.fatal && check.wrong != "" && verdict == "ready" {
			verdict = check.wrong
		}
		if check.wrong == "" {
			fmt.Fprintf(&lines, "[+]%s ok\n", check.name)
		} else {
			fmt.Fprintf(&lines, "[-]%s %s\n", check.name, check.wrong)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if verdict != "ready" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.URL.Query().Has("verbose") {
		fmt.Fprint(w, lines.String())
	}
	fmt.Fprintln(w, verdict)
}

// watch adds a line for the connections, which a worker's watchdog looks after.
func (h *Health) watch(wrong func() string) { h.neglected.Store(&wrong) }

// Address returns the address that it listens on.
func (h *Health) Address() string { return h.listener.Addr().String() }

// Started makes /readyz succeed.
func (h *Health) Started() { h.started.Store(true) }

// Stopping makes /readyz fail, so that the platform sends no more requests here.
func (h *Health) Stopping() { h.draining.Store(true) }

// Close stops serving.
func (h *Health) Close() error {
	h.stopChecks()
	return h.server.Close()
}
