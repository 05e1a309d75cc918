package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
)

// round makes every fault once, in an order that the seed draws.
type round struct {
	ctx context.Context // ends when the suite is asked to stop
	*fleet
	*watch
	r      *rand.Rand
	log    io.Writer
	faults []fault
	only   []string // faults; empty: all
	matrix map[string]map[seam.Seam]int
	done   map[string]int // faults without a seam
	pgStop []time.Duration
	began  time.Time

	timelines map[string][]string // of broken connections, by account

	lost, lostByRestore, refreshes, searched int
}

// fault is one thing that goes wrong.
type fault struct {
	name string
	run  func(*round) error
	// seams says that the fault is made with a connection held at each seam.
	seams bool
}

func (r *round) say(format string, args ...any) {
	fmt.Fprintf(r.log, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// play makes every fault, then waits until all is well and checks.
func (r *round) play(faults []fault) error {
	r.forget()
	r.faults = faults
	order := slices.Clone(faults)
	r.r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	// A restore takes rows back past rotations. The other faults come before it, and
	// are checked before it.
	slices.SortStableFunc(order, func(a, b fault) int { return boolOrder(a.name == restoreName, b.name == restoreName) })
	if len(r.only) == 0 {
		r.wait(life) // each connection is refreshed once by itself, which shows the usual lateness
	}
	for i, f := range order {
		if len(r.only) > 0 && !slices.Contains(r.only, f.name) {
			continue
		}
		if f.name == restoreName && i > 0 {
			if err := r.settle(); err != nil {
				return err
			}
		}
		if err := r.ctx.Err(); err != nil {
			return err // asked to stop
		}
		began := time.Now()
		if err := f.run(r); err != nil {
			return fmt.Errorf("fault %s: %w", f.name, err)
		}
		if !f.seams {
			r.done[f.name]++
		}
		r.say("%-22s %5.1f s", f.name, time.Since(began).Seconds())
	}
	return r.settle()
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// forget lets an hour pass for the refusal holds. Otherwise an operator's confirmation
// in the previous round would hide this round's spikes.
func (r *round) forget() {
	for _, statement := range []string{"UPDATE apps SET muted_until = NULL", "DELETE FROM first_refusals"} {
		_, _ = r.db.Exec(statement)
	}
}

// steady returns the healthy ones of cs.
func (r *round) steady(cs []*conn) []*conn {
	var out []*conn
	for _, c := range cs {
		if s := r.row(c); s.steady() && !c.touched(time.Now().Add(-time.Hour)) {
			out = append(out, c)
		}
	}
	return out
}

// loses has the classes for which a lost reply does harm.
var loses = map[perennial.ReplayClass]bool{perennial.ReplaySingleUse: true, perennial.ReplayUnknown: true}

// gather holds a connection at each of the seams, in one worker or in any. With hurt it
// holds only connections that a lost reply would harm.
func (r *round) gather(seams []seam.Seam, worker string, hurt bool) map[seam.Seam]*held {
	may := func(string) bool { return true }
	if hurt {
		may = func(id string) bool { return r.byID[id] != nil && loses[r.byID[id].class] }
	}
	r.control.hold(seams, worker, may)
	steady := r.steady(r.five())
	var marked []*conn // only these pass AfterMark
	for _, c := range steady {
		if c.class == perennial.ReplayReuseRevokes {
			marked = append(marked, c)
		}
	}
	r.stir(append(pick(r.r, marked, 6), pick(r.r, steady, 3*len(seams))...))
	return r.control.gathered(2500 * time.Millisecond)
}

// atSeams makes a fault with a connection held at each seam, in any worker. It repeats
// that until a connection was held at every seam.
func (r *round) atSeams(name string, seams []seam.Seam, make func(map[seam.Seam]*held) error) error {
	return r.passes(name, seams, func() string { return "" }, func(_ string, standing map[seam.Seam]*held) error { return make(standing) })
}

// atSeamsOfOne does the same with all of them in one worker: the busiest. Workflows
// stay in the worker where they are, so one that was just started has nothing to hold.
func (r *round) atSeamsOfOne(name string, seams []seam.Seam, make func(*worker, map[seam.Seam]*held) error) error {
	choose := func() string {
		if name := r.control.busiest(); r.worker(name) != nil && r.r.IntN(4) > 0 {
			return name
		}
		return r.any().name
	}
	return r.passes(name, seams, choose, func(worker string, standing map[seam.Seam]*held) error {
		return make(r.worker(worker), standing)
	})
}

func (r *round) worker(name string) *worker {
	for _, w := range r.workers {
		if w.name == name {
			return w
		}
	}
	return nil
}

func (r *round) passes(name string, seams []seam.Seam, choose func() string, make func(string, map[seam.Seam]*held) error) error {
	missing := slices.Clone(seams)
	for pass := 0; pass < 3 && len(missing) > 0; pass++ {
		worker := choose()
		standing := r.gather(missing, worker, len(seams) == 1)
		for try := 0; try < 4 && len(standing) < len(missing); try++ {
			release(standing)
			standing = r.gather(missing, worker, len(seams) == 1)
		}
		r.control.note(name)
		err := make(worker, standing)
		for s, h := range standing {
			h.unblock()
			r.hit(name, s)
			missing = slices.DeleteFunc(missing, func(m seam.Seam) bool { return m == s })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *round) hit(name string, s seam.Seam) {
	if r.matrix[name] == nil {
		r.matrix[name] = map[seam.Seam]int{}
	}
	r.matrix[name][s]++
}

func release(standing map[seam.Seam]*held) {
	for _, h := range standing {
		h.unblock()
	}
}

// hold ends the supervision of a worker that a fault is about to end. supervise begins
// it again.
func (r *round) hold(w *worker)      { w.supervise(false) }
func (r *round) supervise(w *worker) { w.supervise(true) }

// any draws a worker.
func (r *round) any() *worker { return r.workers[r.r.IntN(len(r.workers))] }

func (r *round) each(do func(*worker)) {
	for _, w := range r.workers {
		do(w)
	}
}

// wait waits while a fault does its work. No check depends on it. It returns early if
// the suite is asked to stop.
func (r *round) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

// until waits for something, and reports what never came.
func (r *round) until(patience time.Duration, what string, ok func() bool) bool {
	deadline := time.After(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			r.broke("never: %s", what)
			return false
		}
	}
	return true
}

// get reads the row without the watch.
func (r *round) get(c *conn) perennial.Connection {
	row, _, err := r.deps.Store.Get(context.Background(), perennial.WorkerAccess(), c.id)
	if err != nil {
		return perennial.Connection{}
	}
	return row
}
