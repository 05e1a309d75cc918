package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial"
)

// sample is one row as the watch last saw it.
type sample struct {
	id, app, digest, failing, attempt string
	status                            perennial.Status
	reason                            perennial.Reason
	health                            perennial.Health
	generation                        int64
	expires, now, lastRefreshed, due  time.Time
	waits, suspect, ambiguous         bool
}

// steady reports whether the row is healthy.
func (s sample) steady() bool {
	return s.status == perennial.StatusActive && s.health == perennial.HealthHealthy && s.attempt == "" && !s.waits && !s.suspect && !s.ambiguous
}

// watch reads every row a few times a second. It keeps the digest of each generation,
// and which tokens expired without a refresh.
type watch struct {
	f *fleet

	mu      sync.Mutex
	rows    map[string]sample
	given   map[string]map[int64]string // digest of each generation
	broken  map[string]*conn            // what must not be, and its connection
	windows []window                    // when a needed server was away
	expired map[string]bool
	late    []lateness // of the refreshes that nothing was in the way of
	samples int
	stopped chan struct{}
	done    sync.WaitGroup
}

// window is a time in which a needed server was away, for all apps or some.
type window struct {
	from, to time.Time // to is zero while it lasts
	apps     map[string]bool
}

func (f *fleet) watch() *watch {
	w := &watch{f: f, rows: map[string]sample{}, given: map[string]map[int64]string{}, broken: map[string]*conn{}, expired: map[string]bool{}, stopped: make(chan struct{})}
	w.look()
	w.done.Go(func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.look()
			case <-w.stopped:
				return
			}
		}
	})
	return w
}

func (w *watch) stop() {
	close(w.stopped)
	w.done.Wait()
}

func (w *watch) broke(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[fmt.Sprintf(format, args...)] = nil
}

// brokeOf does the same for a connection.
func (w *watch) brokeOf(c *conn, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.breaks(c, format, args...)
}

// breaks needs w.mu.
func (w *watch) breaks(c *conn, format string, args ...any) {
	w.broken[c.account+" "+fmt.Sprintf(format, args...)] = c
}

// away opens a window, and the returned function closes it. Its effects may last a
// little longer, because clients must find the servers again.
func (w *watch) away(apps ...string) (back func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var of map[string]bool
	for _, a := range apps {
		if of == nil {
			of = map[string]bool{}
		}
		of[a] = true
	}
	w.windows = append(w.windows, window{from: time.Now(), apps: of})
	i := len(w.windows) - 1
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.windows[i].to = time.Now().Add(recovery)
	}
}

// recovery is how long the effects of an outage may outlast it: clients back off, and
// lost attempts run to their deadline.
const recovery = deadline + 5*time.Second

func (w *watch) outage(app string, from, to time.Time) bool {
	for _, win := range w.windows {
		if win.from.Before(to) && (win.to.IsZero() || win.to.After(from)) && (win.apps == nil || win.apps[app]) {
			return true
		}
	}
	return false
}

func (w *watch) look() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	rows, err := w.f.db.QueryContext(ctx, `SELECT id, app, refresh_token_digest, failing_code, attempt_id, status, reason, health, generation,
		COALESCE(expires_at, 'epoch'), clock_timestamp(), COALESCE(last_refreshed_at, 'epoch'),
		COALESCE(next_attempt_at > clock_timestamp(), false) OR COALESCE(confirm_at > clock_timestamp(), false), suspect_since IS NOT NULL, ambiguous_since IS NOT NULL, COALESCE(next_refresh_at, 'epoch') FROM connections`)
	if err != nil {
		return // the database is away
	}
	defer rows.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for rows.Next() {
		var s sample
		if rows.Scan(&s.id, &s.app, &s.digest, &s.failing, &s.attempt, &s.status, &s.reason, &s.health, &s.generation, &s.expires, &s.now, &s.lastRefreshed, &s.waits, &s.suspect, &s.ambiguous, &s.due) != nil {
			return
		}
		w.take(s)
	}
	w.samples++
}

// take compares a row with what the watch saw before.
func (w *watch) take(s sample) {
	c := w.f.byID[s.id]
	if c == nil {
		return
	}
	before, seen := w.rows[s.id]
	c.mu.Lock()
	restored, renumbered := c.restored, c.renumbered
	c.mu.Unlock()
	if seen && s.generation < before.generation && !restored {
		w.breaks(c, "went from generation %d back to %d", before.generation, s.generation)
	}
	if w.given[s.id] == nil {
		w.given[s.id] = map[int64]string{}
	}
	if d, ok := w.given[s.id][s.generation]; ok && d != s.digest && s.digest != "" && d != "" && !renumbered {
		w.breaks(c, "was given generation %d twice", s.generation)
	}
	if s.digest != "" {
		w.given[s.id][s.generation] = s.digest
	}
	if seen && s.generation == before.generation+1 && s.lastRefreshed.After(before.lastRefreshed) && !restored {
		w.lateness(c, before, s)
	}
	w.rows[s.id] = s
	w.expiry(c, s)
}

// lateness notes how long after its due time a refresh was done, if every server was there
// from a buffer before the due time on, and no fault had met the connection.
func (w *watch) lateness(c *conn, before, s sample) {
	late := s.lastRefreshed.Sub(before.due)
	if late < 0 || before.due.Unix() == 0 || c.app == "limited" || c.sick != nil || before.ambiguous || before.suspect {
		return // it was asked for before it was due, or its provider refuses it
	}
	if w.outage(c.app, before.due.Add(-buffer), s.lastRefreshed) || c.touched(before.due.Add(-buffer-deadline-started)) {
		return
	}
	if w.f.died(before.due.Add(-buffer), s.lastRefreshed) || w.f.stood(before.due.Add(-buffer), s.lastRefreshed) {
		return // its tasks wait for another worker: as long as a sticky queue, or a pacer's heartbeat, takes
	}
	w.late = append(w.late, lateness{late, c, s.generation, s.lastRefreshed})
	if late > mostLate {
		w.breaks(c, "generation %d: refreshed %.1f s after it was due, and nothing was in the way", s.generation, late.Seconds())
	}
}

// lateness is how long after its due time a refresh was done.
type lateness struct {
	by         time.Duration
	c          *conn
	generation int64
	at         time.Time
}

func (l lateness) String() string {
	return fmt.Sprintf("%s generation %d at %s by %.1f s", l.c.account, l.generation, l.at.Local().Format("15:04:05"), l.by.Seconds())
}

// A refresh that nothing is in the way of is at most mostLate after it was due, and 99 of
// 100 are at most usuallyLate.
const (
	mostLate    = buffer / 2
	usuallyLate = buffer / 10
)

// expiry records an access token that expired while everything that its refresh needs
// was there.
func (w *watch) expiry(c *conn, s sample) {
	if c.sick != nil || s.status != perennial.StatusActive || s.now.Sub(s.expires) < time.Second || s.expires.Unix() == 0 || c.app == "limited" {
		return
	}
	key := fmt.Sprintf("%s generation %d", c.account, s.generation)
	if w.expired[key] {
		return
	}
	w.expired[key] = true
	if _, ok := c.excused(s.generation); ok || s.ambiguous && c.class == perennial.ReplayReuseRevokes {
		return // lost, or kept until it expires on purpose
	}
	from := s.expires.Add(-buffer)
	if w.outage(c.app, from, s.expires) || c.touched(from.Add(-deadline-started)) {
		return
	}
	w.breaks(c, "generation %d: the access token expired unrefreshed (%s, %s)", s.generation, s.health, s.failing)
}

func (w *watch) row(c *conn) sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rows[c.id]
}
