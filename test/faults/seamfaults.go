package main

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/workflows"
	"golang.org/x/sync/errgroup"
)

// lostWith has the seams at which a dying process loses a token set that nobody else
// has: those after the request is written.
var lostWith = map[seam.Seam]bool{seam.AfterWrite: true, seam.AfterReply: true, seam.BeforeCommit: true}

var afterReply = []seam.Seam{seam.AfterReply}

// kill ends a worker with SIGKILL while connections are held at its seams.
func kill(r *round) error {
	return r.atSeamsOfOne("sigkill", seam.Seams, func(w *worker, standing map[seam.Seam]*held) error {
		r.hold(w)
		defer r.supervise(w)
		err := w.kill()
		r.excuseDead(w, standing)
		return err
	})
}

// excuseDead excuses the losses of a dead worker: the connections that were held after
// the request was written, and those that passed without being held.
func (r *round) excuseDead(w *worker, standing map[seam.Seam]*held) {
	for id, at := range r.control.inFlight(w.name) {
		h := standing[at.seam]
		stands := h != nil && h.Connection == id
		// One that is not held may have gone further since its last hit.
		if c := r.byID[id]; c != nil && (lostWith[at.seam] || !stands) {
			c.excuse(r.get(c).Generation, "the worker was killed "+string(at.seam), false)
		}
	}
}

// stopped stops a worker with SIGSTOP for longer than its attempts may take.
func stopped(r *round) error {
	return r.atSeamsOfOne("sigstop", seam.Seams, func(w *worker, standing map[seam.Seam]*held) error {
		return w.stopDuring(func() {
			for id, at := range r.control.inFlight(w.name) {
				if c := r.byID[id]; c != nil {
					// Its reply is read too late or never, or its save comes after another
					// worker has presented the token again.
					c.excuse(r.get(c).Generation, "the worker was stopped "+string(at.seam), at.seam == seam.AfterReply || at.seam == seam.BeforeCommit)
					c.with(func() { c.overtaken = true })
				}
			}
			release(standing)
			r.wait(deadline + 2*time.Second)
		})
	})
}

func reset(r *round) error {
	return r.atSeams("pg_reset", seam.Seams, func(standing map[seam.Seam]*held) error {
		r.each(func(w *worker) { w.db.reset() })
		release(standing)
		return nil
	})
}

// answersLost passes statements, commits among them, and loses their answers.
func answersLost(r *round) error {
	return r.atSeams("answer_lost", seam.Seams, func(standing map[seam.Seam]*held) error {
		r.each(func(w *worker) { w.db.loseAnswers(400 * time.Millisecond) })
		release(standing)
		r.wait(600 * time.Millisecond)
		return nil
	})
}

// ledgerFull fills the disk of the ledger: saves fail, claims do not.
func ledgerFull(r *round) error {
	return r.atSeams("disk_full", seam.Seams, func(standing map[seam.Seam]*held) error {
		defer r.away()()
		if err := r.diskFull.fill(); err != nil {
			return err
		}
		release(standing)
		r.wait(4 * time.Second) // longer than a save is tried
		return r.diskFull.free()
	})
}

// spoolFull fills the spools. Nothing is presented, because a reply could not be kept.
func spoolFull(r *round) error {
	return r.atSeams("spool_full", seam.Seams, func(standing map[seam.Seam]*held) error {
		defer r.away()()
		err := r.spools((*small).fill)
		release(standing)
		r.wait(2 * time.Second)
		return errors.Join(err, r.spools((*small).free))
	})
}

func (r *round) spools(do func(*small) error) error {
	var errs []error
	r.each(func(w *worker) { errs = append(errs, do(w.spool)) })
	return errors.Join(errs...)
}

// journal removes database and spool when replies have been read. Only the workflow
// keeps them.
func journal(r *round) error {
	return r.atSeams("journal", afterReply, func(standing map[seam.Seam]*held) error {
		defer r.away()()
		err := r.spools((*small).fill)
		r.each(func(w *worker) { w.db.cutOff() })
		release(standing)
		r.wait(5 * time.Second)
		r.each(func(w *worker) { w.db.mend() })
		r.wait(time.Second)
		return errors.Join(err, r.spools((*small).free))
	})
}

// spoolOutlives removes the database when replies have been read, and kills the worker
// once they are in its spool. Only the spool has them.
func spoolOutlives(r *round) error {
	return r.atSeamsOfOne("spool_outlives", afterReply, func(w *worker, standing map[seam.Seam]*held) error {
		defer r.away()()
		var c *conn
		if h := standing[seam.AfterReply]; h != nil {
			c = r.byID[h.Connection]
		}
		w.db.cutOff()
		release(standing)
		r.wait(1200 * time.Millisecond) // by then the reply is in the spool, and SaveTimeout is not over
		r.hold(w)
		defer r.supervise(w)
		err := w.kill()
		for id, at := range r.control.inFlight(w.name) {
			// A reply that was read half a second ago is in the spool.
			kept := at.seam == seam.AfterReply && time.Since(at.at) > 500*time.Millisecond
			if other := r.byID[id]; other != nil && other != c && !kept {
				other.excuse(r.get(other).Generation, "the worker was killed "+string(at.seam), false)
			}
		}
		w.db.mend()
		return err
	})
}

// databaseStops stops PostgreSQL as a crash would.
func databaseStops(r *round) error {
	for _, d := range r.pgStop {
		err := r.atSeams("pg_stop_"+d.String(), seam.Seams, func(standing map[seam.Seam]*held) error {
			defer r.away()()
			err := r.pg.Stop()
			release(standing)
			r.wait(d)
			return errors.Join(err, r.pg.Run())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func temporalKilled(r *round) error {
	return r.atSeams("temporal_killed", seam.Seams, func(standing map[seam.Seam]*held) error {
		defer r.away()()
		err := r.temporal.Kill()
		release(standing)
		r.wait(3 * time.Second)
		return errors.Join(err, r.temporal.Run(context.Background()))
	})
}

// bothDown stops both databases at once.
func bothDown(r *round) error {
	return r.atSeams("both_down", seam.Seams, func(standing map[seam.Seam]*held) error {
		defer r.away()()
		err := errors.Join(r.pg.Stop(), r.pgOf.Stop())
		release(standing)
		r.wait(4 * time.Second)
		err = errors.Join(err, r.pgOf.Run(), r.pg.Run())
		// Temporal has just restarted, and the next faults send it many requests at once.
		r.until(30*time.Second, "Temporal knows its workflows again", func() bool {
			_, err := r.client.DescribeWorkflowExecution(context.Background(), workflows.ID(r.all[0].id), "")
			return err == nil
		})
		return err
	})
}

// temporalCut cuts the workers off from Temporal for longer than a completion is tried,
// so that they refresh without it. One worker is asked to stop during a presentation.
func temporalCut(r *round) error {
	err := r.atSeams("temporal_cut", seam.Seams, func(standing map[seam.Seam]*held) error {
		r.each(func(w *worker) { w.temporal.cutOff() })
		release(standing)
		return nil
	})
	defer r.away()()
	if err != nil {
		return err
	}
	w := r.any()
	for _, c := range r.five() {
		_ = r.provider.Adjust(clientOf(c.app), c.account, slowly(2500))
	}
	r.wait(16 * time.Second) // until the workers count it as away
	r.control.hold([]seam.Seam{seam.AfterClaim}, w.name, func(id string) bool { return r.byID[id] != nil && loses[r.byID[id].class] })
	// So some are due now, and no workflow can ask for them.
	if _, err := r.db.Exec("UPDATE connections SET next_refresh_at = clock_timestamp() WHERE app = 'single_use' AND status = 'active'"); err != nil {
		return err
	}
	standing := r.control.gathered(12 * time.Second)
	if len(standing) > 0 {
		r.done["sigterm_in_exchange"]++
	}
	release(standing)
	r.wait(500 * time.Millisecond) // the provider has the request, and takes its time
	r.hold(w)
	err = w.terminate()
	r.each(func(w *worker) { w.temporal.mend() })
	r.supervise(w)
	for _, c := range r.five() {
		_ = r.provider.Adjust(clientOf(c.app), c.account, slowly(0))
	}
	return err
}

// races makes a person's action race a refresh at each seam.
func races(name string, do func(*round, *conn) error, undo func(*round, *conn) error) func(*round) error {
	return func(r *round) error {
		return r.atSeams(name, seam.Seams, func(standing map[seam.Seam]*held) error {
			var g errgroup.Group
			var raced []*conn
			for _, h := range standing {
				c := r.byID[h.Connection]
				raced = append(raced, c)
				c.with(func() { c.ours, c.lossy = true, true })
				g.Go(func() error { return do(r, c) })
			}
			r.wait(200 * time.Millisecond) // so that it comes while they are held
			release(standing)
			if err := g.Wait(); err != nil {
				return err
			}
			r.wait(time.Second)
			for _, c := range raced {
				if err := undo(r, c); err != nil {
					return err
				}
				c.with(func() { c.ours = false })
			}
			return nil
		})
	}
}

// told does a person's action, and repeats it if its error says so: after the fault
// before, the Temporal server may still be starting.
func (r *round) told(do func() error) (err error) {
	for range 20 {
		if err = do(); perennial.CodeOf(err) != perennial.CodeUnavailable {
			return err
		}
		r.wait(500 * time.Millisecond)
	}
	return err
}

func reconnects(r *round, c *conn) error {
	grant, err := r.consent(c, specOf(c.app).knobs)
	if err != nil {
		return err
	}
	return r.told(func() error {
		_, err := r.service.Reconnect(context.Background(), perennial.WorkerAccess(), c.id, grant)
		return err
	})
}

func pauses(r *round, c *conn) error {
	return r.told(func() error {
		_, err := r.service.Pause(context.Background(), perennial.WorkerAccess(), c.id)
		return err
	})
}

func resumes(r *round, c *conn) error {
	err := r.told(func() error {
		_, err := r.service.Resume(context.Background(), perennial.WorkerAccess(), c.id)
		return err
	})
	if perennial.CodeOf(err) == perennial.CodeConflict { // a refusal came first
		return nil
	}
	return err
}

func disconnects(r *round, c *conn) error {
	return r.told(func() error {
		_, err := r.service.Disconnect(context.Background(), perennial.WorkerAccess(), c.id)
		return err
	})
}

func connects(r *round, c *conn) error {
	grant, err := r.consent(c, specOf(c.app).knobs)
	if err != nil {
		return err
	}
	return r.told(func() error {
		_, err := r.service.Connect(context.Background(), perennial.WorkerAccess(), grant)
		return err
	})
}

func nothing(*round, *conn) error { return nil }
