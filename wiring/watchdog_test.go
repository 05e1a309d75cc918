package wiring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
)

// world is a watchdog's surroundings: rows, a Temporal and an engine, on a test's clock.
type world struct {
	mu        sync.Mutex
	late      []string // ids of the neglected connections
	since     time.Time
	asked     []store.NeglectedRequest
	temporal  error // Temporal's answer
	takes     time.Duration
	refreshed []string
	unbound   error // the engine presents nothing
	running   int
	most      int // refreshes at once
	shown     shown
	logged    bytes.Buffer
}

// shown is the state of the metrics.
type shown struct {
	beside bool
	found  int
	answer string
}

func (s *shown) Fallback(on bool)                            { s.beside = on }
func (s *shown) Neglected(n int, _ time.Time, answer string) { s.found, s.answer = n, answer }

func (w *world) watchdog(spool bool) *watchdog {
	w.since = time.Now().Add(-time.Hour)
	d := &watchdog{rows: w, patience: 2 * time.Minute, shown: &w.shown, log: slog.New(slog.NewTextHandler(&w.logged, nil)),
		ask: func(context.Context) error { w.mu.Lock(); defer w.mu.Unlock(); return w.temporal }}
	if spool {
		d.fallback = &refresh.Fallback{Engine: w, Rows: w, Apps: w}
	}
	return d
}

func (w *world) Neglected(_ context.Context, req store.NeglectedRequest) (store.Neglected, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, req)
	out := store.Neglected{Found: len(w.late)}
	for _, id := range w.late[:min(len(w.late), req.Limit)] {
		out.Connections, out.Since = append(out.Connections, perennial.Connection{ID: id, App: "app"}), w.since
	}
	return out, nil
}

func (w *world) Get(_ context.Context, _ perennial.Access, id string) (perennial.Connection, time.Time, error) {
	c := perennial.Connection{ID: id, App: "app"}
	if strings.HasPrefix(id, "suspect") {
		c.SuspectSince = time.Now()
	}
	return c, time.Now(), nil
}

func (w *world) AttemptLost(context.Context, perennial.Connection) (bool, error) { return false, nil }

func (w *world) App(string) (provider.App, error) { return provider.App{}, nil }

func (w *world) Refresh(_ context.Context, req refresh.Request) (refresh.Result, error) {
	w.mu.Lock()
	if w.unbound != nil {
		defer w.mu.Unlock()
		return refresh.Result{}, w.unbound
	}
	w.refreshed = append(w.refreshed, req.ConnectionID)
	w.running++
	w.most = max(w.most, w.running)
	w.mu.Unlock()
	time.Sleep(w.takes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.late = slices.DeleteFunc(w.late, func(id string) bool { return id == req.ConnectionID })
	return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
}

func (w *world) Persist(context.Context, store.SaveRequest) (refresh.Result, error) {
	return refresh.Result{}, errors.New("there is no set")
}

func (w *world) SaveLater(context.Context, store.SaveRequest) error { return nil }

// runFor runs the watchdog for a time.
func (w *world) runFor(t *testing.T, d *watchdog, how time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), how)
	defer cancel()
	d.run(ctx)
}

// TestWatchdogKnowsThatTemporalIsAway: with fifteen seconds without an answer, also if
// Temporal refuses us, a connection counts as neglected a second after its due time.
// Before, and when Temporal is back, it may be two sweeps late.
func TestWatchdogKnowsThatTemporalIsAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer error
		shows  string
	}{
		"silent":  {context.DeadlineExceeded, "no answer"},
		"gone":    {serviceerror.NewUnavailable("connection refused"), "no answer"},
		"refuses": {serviceerror.NewPermissionDenied("the key ends in -secret", ""), "PermissionDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				d := w.watchdog(true)
				patience := func(want time.Duration) {
					t.Helper()
					require.Equal(t, want, w.asked[len(w.asked)-1].Patience)
				}
				w.runFor(t, d, 20*time.Second)
				assert.GreaterOrEqual(t, len(w.asked), 3, "a look each five seconds or so")
				patience(2 * time.Minute)
				assert.Equal(t, shown{answer: "OK"}, w.shown)
				w.temporal = c.answer
				w.runFor(t, d, 12*time.Second)
				patience(2 * time.Minute)
				w.runFor(t, d, 22*time.Second)
				patience(time.Second)
				assert.Equal(t, shown{beside: true, answer: c.shows}, w.shown)
				w.temporal = nil
				w.runFor(t, d, 7*time.Second)
				patience(2 * time.Minute)
				assert.Equal(t, shown{answer: "OK"}, w.shown)
				assert.NotContains(t, w.logged.String(), "-secret")
			})
		})
	}
}

// TestWatchdogRefreshes: the most urgent comes first, at most eight at once. None is
// started once the next look is due, because others may be more urgent by then. If there
// is more to do, the next look comes at once.
func TestWatchdogRefreshes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{takes: 2 * time.Second}
		var ids []string
		for i := range 50 {
			ids = append(ids, fmt.Sprintf("con_%03d", i))
		}
		w.late = slices.Clone(ids)
		d := w.watchdog(true)
		began := time.Now()
		assert.True(t, d.look(t.Context()), "there is more")
		assert.LessOrEqual(t, time.Since(began), 8*time.Second)
		assert.Len(t, w.refreshed, 24)
		slices.Sort(w.refreshed)
		assert.Equal(t, ids[:24], w.refreshed)
		assert.Equal(t, 8, w.most)
		for d.look(t.Context()) {
		}
		assert.Len(t, w.refreshed, 50)
		assert.LessOrEqual(t, time.Since(began), 30*time.Second)
		assert.True(t, w.shown.beside)
		assert.Equal(t, 2, w.shown.found, "at the last look")
	})
}

// TestWatchdogWithoutASpool: it reports and refreshes nothing.
func TestWatchdogWithoutASpool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{late: []string{"con_1", "con_2"}}
		d := w.watchdog(false)
		w.runFor(t, d, 30*time.Second)
		assert.Empty(t, w.refreshed)
		assert.Equal(t, shown{found: 2, answer: "OK"}, w.shown)
		assert.Contains(t, w.logged.String(), "configure a spool")
		assert.Contains(t, d.wrong(), "neglected connections: 2, not refreshed, since "+w.since.UTC().Format(time.RFC3339))
	})
}

// TestWatchdogReports: the log and the probe say how many connections are neglected, since
// when, what Temporal answers and what to do, once a minute while it lasts. The process
// stays ready.
func TestWatchdogReports(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{late: []string{"suspect_1"}, temporal: serviceerror.NewPermissionDenied("the key ends in -secret", "")}
		d := w.watchdog(true)
		health := &Health{}
		health.Started()
		health.watch(d.wrong)
		probe := func() string {
			answer := httptest.NewRecorder()
			health.ready(answer, httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil))
			require.Equal(t, http.StatusOK, answer.Code)
			return answer.Body.String()
		}
		assert.Contains(t, probe(), "[+]refreshes ok\n")
		w.runFor(t, d, 2*time.Minute+30*time.Second)
		logged := w.logged.String()
		assert.LessOrEqual(t, strings.Count(logged, "connections are neglected"), 3, logged)
		for _, says := range []string{"connections=1", "first=[suspect_1]", "temporal=PermissionDenied", "renew this process's Temporal credentials", "left to their workflows"} {
			assert.Contains(t, logged, says)
		}
		assert.Contains(t, probe(), "[-]refreshes neglected connections: 1, refreshed by this process, since "+w.since.UTC().Format(time.RFC3339)+"; Temporal: PermissionDenied; renew ")
		assert.NotContains(t, logged+probe(), "-secret")

		w.late, w.temporal = nil, nil
		w.runFor(t, d, 30*time.Second)
		assert.Contains(t, probe(), "[-]refreshes neglected connections: 0, refreshed by this process, since ", "it may come back")
		w.runFor(t, d, time.Minute)
		assert.Contains(t, probe(), "[+]refreshes ok\n")
		assert.Contains(t, w.logged.String(), "no connection is neglected any more")
	})
}

// TestWatchdogThatMayNotPresent: an engine that presents nothing is logged once a minute,
// not once for each connection.
func TestWatchdogThatMayNotPresent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{late: []string{"con_1", "con_2", "con_3"}, unbound: errors.New("another database's")}
		w.runFor(t, w.watchdog(true), 70*time.Second)
		assert.Equal(t, 2, strings.Count(w.logged.String(), "not refreshed beside Temporal"), w.logged.String())
		assert.Contains(t, w.logged.String(), `connections=3 last="another database's"`)
	})
}

// TestAnswerOf: the shown answer repeats nothing of its text.
func TestAnswerOf(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"OK":               nil,
		"no answer":        context.DeadlineExceeded,
		"PermissionDenied": fmt.Errorf("ask: %w", serviceerror.NewPermissionDenied("secret", "")),
		"NotFound":         serviceerror.NewNamespaceNotFound("secret"),
	} {
		assert.Equal(t, want, answerOf(err))
	}
	now := time.Now()
	at := now.UTC().Format(time.RFC3339)
	denied, none, well := "PermissionDenied", "no answer", "OK"
	assert.Equal(t, "answers PermissionDenied since "+at, answersSince(&denied, now))
	for _, silent := range []*string{nil, &none, &well} {
		assert.Equal(t, "does not answer since "+at, answersSince(silent, now))
	}
}
