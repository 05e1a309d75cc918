package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/fakeprovider"
)

// settle waits until all is quiet after the last fault. Then it checks what must hold
// against the provider's own books, the rows and everything that was written.
func (r *round) settle() error {
	if err := r.calm(); err != nil {
		return err
	}
	last := time.Now()
	before := map[*conn]int64{}
	for _, c := range r.all {
		before[c] = r.get(c).Generation
	}
	gained := func(c *conn) bool {
		s := r.row(c)
		return c.sick != nil || s.status != perennial.StatusActive || s.generation > before[c] || r.waitsForOld(c)
	}
	left := func() (out []*conn) {
		for _, c := range r.all {
			if c.app != "limited" && !gained(c) {
				out = append(out, c)
			}
		}
		return out
	}
	var asked time.Time
	ask := func() { // and again if no reply came: everything may be slow
		if time.Since(asked) > 8*time.Second {
			asked = time.Now()
			r.stir(left())
		}
	}
	// Connections that no fault of their own delays have two buffers. Those that were
	// lost, or wait until an access token expires, have as long as their class needs.
	r.everybody(2*buffer, last, func(c *conn) bool {
		ask()
		return c.app == "limited" || gained(c) || c.touched(time.Time{}) || r.waitsForEnd(c)
	}, "gained no generation within two buffers of the last fault")
	r.undelivered()
	for len(left()) > 0 && time.Since(last) < life+deadline+buffer+30*time.Second {
		if err := r.operate(last); err != nil {
			return err
		}
		ask()
		r.wait(500 * time.Millisecond)
	}
	for _, c := range left() {
		r.brokeOf(c, "is stuck since the last fault (%s)", r.stateOf(c))
	}
	r.undelivered()
	r.checkStatuses()
	r.checkNeighbours()
	r.checkBooks()
	r.tell()
	if err := r.checkSecrets(); err != nil {
		return err
	}
	return r.repair()
}

// operate acts as the operator after a look at the held connections: these losses are
// real.
func (r *round) operate(last time.Time) error {
	if time.Since(last) < 10*time.Second {
		return nil
	}
	for _, a := range apps {
		state, err := r.deps.Store.AppState(context.Background(), a.name)
		if err != nil || !state.RefusalHold && len(state.ImportHolds) == 0 && !state.ConsentHold {
			continue
		}
		if err := r.deps.Store.ConfirmRefusalHold(context.Background(), a.name); err != nil {
			return err
		}
	}
	return nil
}

// waitsForEnd reports whether a connection waits until its access token expires,
// because its refresh token may have been spent and a reuse would revoke it.
func (r *round) waitsForEnd(c *conn) bool {
	return c.class == perennial.ReplayReuseRevokes && r.row(c).ambiguous
}

// undelivered excuses replies that never reached us, by the provider's books: it did
// the work and gave no answer, or the caller left as it may, at its timeout or by its
// death. A living caller that leaves earlier has cancelled a sent request.
func (r *round) undelivered() {
	byDigest := map[string]*conn{}
	generations := map[string][]int64{} // several if a reply brought an access token only
	r.mu.Lock()
	for id, given := range r.given {
		for g, d := range given {
			byDigest[d], generations[d] = r.byID[id], append(generations[d], g)
		}
	}
	r.mu.Unlock()
	oracle := r.provider.Oracle()
	for _, p := range oracle.Presentations {
		may := !p.Left || p.After > leaves || r.died(p.At, p.At.Add(p.After))
		c := byDigest[p.Digest]
		if c == nil || !p.Undelivered || !may {
			continue
		}
		for _, g := range generations[p.Digest] {
			if _, ok := c.excused(g); !ok {
				c.excuse(g, "the answer was lost, or its rest", false)
			}
		}
	}
}

// leaves is the least time that a caller waits for a reply: its timeout, less the time
// that the request needs to arrive.
const leaves = 2500 * time.Millisecond

// died reports whether a worker was killed in that time, or a moment after.
func (f *fleet) died(from, to time.Time) bool {
	for _, w := range f.workers {
		w.mu.Lock()
		deaths := slices.Clone(w.deaths)
		w.mu.Unlock()
		if slices.ContainsFunc(deaths, func(at time.Time) bool {
			return at.After(from.Add(-time.Second)) && at.Before(to.Add(time.Second))
		}) {
			return true
		}
	}
	return false
}

// stood reports whether a worker was stopped in that time, or until a moment before it.
func (f *fleet) stood(from, to time.Time) bool {
	for _, w := range f.workers {
		w.mu.Lock()
		stops := slices.Clone(w.stops)
		w.mu.Unlock()
		if slices.ContainsFunc(stops, func(s window) bool {
			return s.from.Before(to) && (s.to.IsZero() || s.to.Add(time.Second).After(from))
		}) {
			return true
		}
	}
	return false
}

// everybody waits until ok holds for every connection. A connection for which it never
// holds is broken.
func (r *round) everybody(patience time.Duration, since time.Time, ok func(*conn) bool, what string) {
	for time.Since(since) < patience {
		left := false
		for _, c := range r.all {
			left = left || !ok(c)
		}
		if !left {
			return
		}
		r.wait(200 * time.Millisecond)
	}
	left := explained
	for _, c := range r.all {
		if !ok(c) {
			if left == explained {
				r.explainSweep()
			}
			if left--; left >= 0 {
				r.explain(c)
			}
			r.brokeOf(c, "%s (%s)", what, r.stateOf(c))
		}
	}
}

// checkStatuses checks that each connection that must reconnect was lost without a
// fault of ours, and has the right reason.
func (r *round) checkStatuses() {
	for _, c := range r.all {
		s := r.row(c)
		if s.status != perennial.StatusReconnectRequired {
			if s.status != perennial.StatusActive {
				r.brokeOf(c, "is %s", s.status)
			}
			continue
		}
		why, ok := c.excused(s.generation)
		reused := c.reused(s.generation) && (!ok || r.sawConsumed(c, s.generation-1))
		c.mu.Lock()
		restored, untold := c.restored, c.untold
		c.mu.Unlock()
		switch {
		case restored:
			r.lostByRestore++
		case ok, reused:
			r.lost++
		}
		switch {
		case c.class == perennial.ReplayReusable, c.class == perennial.ReplayGrace && !restored:
			r.brokeOf(c, "ends in reconnect_required (%s): its class always recovers", s.reason)
		case !ok && !reused && !restored:
			r.brokeOf(c, "ends in reconnect_required (%s) at generation %d, and no fault took its reply", s.reason, s.generation)
		case s.reason != perennial.ReasonRotationLost && !untold && !reused:
			r.brokeOf(c, "was lost (%s) and is named %s", why, s.reason)
		}
	}
}

// sawConsumed reports whether the provider's books say that a generation's token was
// presented again after it was consumed.
func (r *round) sawConsumed(c *conn, generation int64) bool {
	r.mu.Lock()
	digest := r.given[c.id][generation]
	r.mu.Unlock()
	return digest != "" && slices.ContainsFunc(r.provider.Oracle().Presentations, func(p fakeprovider.Presentation) bool {
		return p.AfterConsumed && p.Digest == digest
	})
}

// heldBack is how much later than we the provider may begin to count an access token's
// life: the suite holds connections between claim and sending.
const heldBack = 5 * time.Second

// checkBooks compares the rows with the provider's own books.
func (r *round) checkBooks() {
	oracle := r.provider.Oracle()
	grants := map[string]*conn{}
	for _, c := range r.all {
		grants[clientOf(c.app)+"/"+c.account] = c
	}
	for _, g := range oracle.Grants {
		c := grants[g.Client+"/"+g.Account]
		if c == nil {
			continue
		}
		c.mu.Lock()
		lossy, restored, overtaken := c.lossy, c.restored, c.overtaken
		c.mu.Unlock()
		if g.MostInFlight > 1 && !overtaken {
			r.brokeOf(c, "had %d requests at once", g.MostInFlight)
		}
		if g.ConsumedPresentations > 0 && !restored && (!lossy || c.class == perennial.ReplayGrace) {
			r.brokeOf(c, "had a consumed token shown %d times", g.ConsumedPresentations)
		}
	}
	for _, p := range oracle.Presentations {
		c := grants[p.Grant]
		if c == nil || !p.AfterConsumed || p.LiveFor < heldBack || c.class != perennial.ReplayReuseRevokes {
			continue
		}
		c.mu.Lock()
		restored := c.restored
		c.mu.Unlock()
		if !restored {
			r.brokeOf(c, "had a consumed token shown while its access token lived, where that revokes the grant")
		}
	}
	for _, a := range apps {
		if a.limit == 0 {
			continue
		}
		if _, most := r.provider.Requests(clientOf(a.name), r.began, time.Now()); float64(most) > a.limit+1 {
			r.broke("app %s: %d requests in one second, with a limit of %g", a.name, most, a.limit)
		}
	}
	r.refreshes = oracle.Refreshes
}

// checkSecrets searches everything that was written for secrets. Tokens begin with a
// prefix of their own.
func (r *round) checkSecrets() error {
	needles := [][]byte{[]byte("frt_"), []byte("fat_"), []byte(secret)}
	for _, n := range needles[:3] {
		needles = append(needles, fmt.Appendf(nil, "%x", n)) // as a database dumps bytes
	}
	search := func(where string, raw []byte) {
		r.searched += len(raw)
		for _, n := range needles {
			if bytes.Contains(raw, n) {
				r.broke("a secret (%s...) is in %s", n[:4], where)
			}
		}
	}
	logs, err := filepath.Glob(r.file("worker-*.log"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		search(filepath.Base(path), raw)
		if bytes.Contains(raw, []byte("\npanic: ")) || bytes.Contains(raw, []byte("\nfatal error: ")) {
			r.broke("a worker crashed: see %s", path)
		}
	}
	for where, url := range map[string]string{"our database": r.url(), "Temporal's database": r.pgOf.URL} {
		if where == "Temporal's database" {
			url = replaceDatabase(url, "temporal")
		}
		out, err := exec.Command(r.pg.Tool("pg_dump"), "--data-only", url).Output()
		if err != nil {
			return fmt.Errorf("dump %s: %w", where, err)
		}
		search(where, out)
	}
	return nil
}

// repair reconnects every connection that needs it, as its user would. Each is
// refreshed after it.
func (r *round) repair() error {
	var repaired []*conn
	for _, c := range r.all {
		if r.row(c).status == perennial.StatusReconnectRequired {
			repaired = append(repaired, c)
		}
		c.with(func() { c.excuses, c.restored, c.revoked, c.untold = nil, false, false, false })
	}
	before := map[*conn]int64{}
	for _, c := range repaired {
		if err := reconnects(r, c); err != nil {
			return err
		}
		before[c] = r.get(c).Generation
	}
	r.stir(repaired)
	for _, c := range repaired {
		r.until(20*time.Second, c.account+" is refreshed after its reconnect", func() bool {
			return r.row(c).generation > before[c] || r.row(c).status == perennial.StatusActive && r.row(c).generation >= before[c]
		})
	}
	// A confirmation that the operator gave an hour ago has no more effect.
	r.forget()
	_, err := r.db.Exec("UPDATE apps SET hold_terminal = false")
	return err
}
