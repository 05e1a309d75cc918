package main

import (
	"errors"
	"time"
)

const restoreName = "db_restored"

// restored takes the database back to what it was some refreshes ago. One
// connection's worker holds its newest tokens in the spool meanwhile, and its
// user reconnects before anybody notices.
func restored(r *round) error {
	const snapshot = "snapshot"
	if err := r.copyDatabase("perennial", snapshot); err != nil {
		return err
	}
	r.stir(r.five())
	r.wait(6 * time.Second)
	w := r.workers[0]
	var kept *conn
	standing := r.gatherOne(w)
	if standing != nil {
		kept = r.byID[standing.Connection]
	}
	w.db.cutOff()
	if standing != nil {
		standing.letGo()
		r.until(4*time.Second, "the reply is in the spool", func() bool { return w.spooled() > 0 })
	}
	// Whom this worker has just refreshed, its workflow may not have been told of:
	// once the row is back, nobody knows of that generation.
	for _, c := range r.all {
		if last := r.control.lastIn(w.name, c.id); c != kept && time.Since(last) < 20*time.Second {
			c.with(func() { c.untold, c.renumbered = true, true })
		}
	}
	r.hold(w)
	if err := w.kill(); err != nil {
		return err
	}
	for id := range r.control.inFlight(w.name) {
		if c := r.byID[id]; c != nil && c != kept {
			c.excuse(r.get(c).Generation, "the worker was killed", false)
		}
	}
	back := r.away()
	r.each(func(w *worker) { w.db.cutOff() })
	var replaces int64
	if kept != nil {
		replaces = r.get(kept).Generation
	}
	for _, c := range r.all {
		c.with(func() { c.restored, c.lossy = true, true })
	}
	if err := errors.Join(r.exec(r.pg.URL, "ALTER DATABASE perennial WITH ALLOW_CONNECTIONS false"), r.disconnect("perennial"),
		r.exec(r.pg.URL, "DROP DATABASE perennial"), r.exec(r.pg.URL, "ALTER DATABASE "+snapshot+" RENAME TO perennial"),
		r.exec(r.pg.URL, "ALTER DATABASE perennial WITH ALLOW_CONNECTIONS true")); err != nil {
		return err
	}
	if kept != nil {
		// The user reconnects, as often as it takes to reach the number that the
		// kept set replaces: only the digest tells that it is another token.
		kept.with(func() { kept.renumbered = true })
		for r.get(kept).Generation < replaces {
			if err := reconnects(r, kept); err != nil {
				return err
			}
		}
		r.done["reconnected_over_kept"]++
	}
	r.each(func(w *worker) { w.db.mend() })
	r.supervise(w)
	back()
	if kept != nil {
		r.until(20*time.Second, "the kept set is dealt with", func() bool { return w.spooled() == 0 })
		kept.with(func() { kept.excuses, kept.restored = nil, false }) // its new grant is to live on
	}
	return nil
}

// gatherOne has a connection stand at the reading of its reply.
func (r *round) gatherOne(w *worker) *held {
	for range 6 {
		for _, h := range r.gather(afterReply, w.name, true) {
			return h
		}
	}
	return nil
}

// disconnect ends every session of a database.
func (r *round) disconnect(database string) error {
	return r.exec(r.pg.URL, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+database+"'")
}

// copyDatabase copies a database while nobody is connected to it.
func (r *round) copyDatabase(from, to string) error {
	defer r.away()()
	return errors.Join(r.exec(r.pg.URL, "ALTER DATABASE "+from+" WITH ALLOW_CONNECTIONS false"), r.disconnect(from),
		r.exec(r.pg.URL, "CREATE DATABASE "+to+" TEMPLATE "+from), r.exec(r.pg.URL, "ALTER DATABASE "+from+" WITH ALLOW_CONNECTIONS true"))
}
