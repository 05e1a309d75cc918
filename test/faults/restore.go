package main

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial/internal/seam"
)

const restoreName = "db_restored"

// restored takes the database back to its state some refreshes ago, while a worker's
// spool holds the newest token sets of two connections. One connection's user
// reconnects before the restore is noticed. The other connection has no other good
// token set.
func restored(r *round) error {
	const snapshot = "snapshot"
	if err := r.copyDatabase("perennial", snapshot); err != nil {
		return err
	}
	r.stir(r.five())
	r.wait(6 * time.Second)
	w := r.workers[0]
	standing := r.gatherAll(w, seam.AfterReply, seam.BeforeCommit)
	reconnected, alone := r.conn(standing[seam.AfterReply]), r.conn(standing[seam.BeforeCommit])
	w.db.cutOff()
	release(standing)
	for _, h := range standing {
		r.until(4*time.Second, "the reply is in the spool", func() bool { return w.keeps(h.Connection) })
	}
	// This worker may just have refreshed a connection without telling its workflow.
	// When the row is back, nobody knows of that generation.
	for _, c := range r.all {
		if last := r.control.lastIn(w.name, c.id); c != reconnected && c != alone && time.Since(last) < 20*time.Second {
			c.with(func() { c.untold, c.renumbered = true, true })
		}
	}
	r.hold(w)
	if err := w.kill(); err != nil {
		return err
	}
	for id := range r.control.inFlight(w.name) {
		if c := r.byID[id]; c != nil && c != reconnected && c != alone {
			c.excuse(r.get(c).Generation, "the worker was killed", false)
		}
	}
	back := r.away()
	r.each(func(w *worker) { w.db.cutOff() })
	var replaces int64
	if reconnected != nil {
		replaces = r.get(reconnected).Generation
	}
	for _, c := range r.all {
		c.with(func() { c.restored, c.lossy = true, true })
	}
	if err := errors.Join(r.exec(r.pg.URL, "ALTER DATABASE perennial WITH ALLOW_CONNECTIONS false"), r.disconnect("perennial"),
		r.exec(r.pg.URL, "DROP DATABASE perennial"), r.exec(r.pg.URL, "ALTER DATABASE "+snapshot+" RENAME TO perennial"),
		r.exec(r.pg.URL, "ALTER DATABASE perennial WITH ALLOW_CONNECTIONS true")); err != nil {
		return err
	}
	if reconnected != nil {
		// The user reconnects until the row has the generation that the spooled set
		// replaces. Only the digest tells that it is another token.
		reconnected.with(func() { reconnected.renumbered = true })
		for r.get(reconnected).Generation < replaces {
			if err := reconnects(r, reconnected); err != nil {
				return err
			}
		}
		r.done["reconnected_over_kept"]++
	}
	// The spool comes first: any other process that presents the older token of that
	// connection spends its grant, or makes the provider end it.
	w.db.mend()
	r.supervise(w)
	r.until(20*time.Second, "the kept sets are dealt with", func() bool { return w.spooled() == 0 })
	if _, _, err := r.binding.Restored(context.Background()); err != nil {
		return err
	}
	r.each(func(w *worker) { w.db.mend() })
	back()
	for _, c := range []*conn{reconnected, alone} {
		if c != nil {
			c.with(func() { c.excuses, c.restored = nil, false }) // its grant must survive
		}
	}
	if alone != nil {
		r.done["adopted_after_restore"]++
	}
	return nil
}

// conn returns the held connection, nil if there is none.
func (r *round) conn(h *held) *conn {
	if h == nil {
		return nil
	}
	return r.byID[h.Connection]
}

// gatherAll holds a connection at each of the seams, in one worker, if it can.
func (r *round) gatherAll(w *worker, seams ...seam.Seam) (standing map[seam.Seam]*held) {
	for range 6 {
		release(standing)
		if standing = r.gather(seams, w.name, true); len(standing) == len(seams) {
			break
		}
	}
	return standing
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
