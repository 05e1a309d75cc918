package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/internal/seam"
)

// control is asked by the workers at every seam, and holds a connection there
// while the suite wants it.
type control struct {
	mu   sync.Mutex
	last map[passage]reached
	hits map[seam.Seam]int // all that passed, held or not
	book io.Writer         // a line for each

	worker string // whose connections are held; "" for any
	wanted map[seam.Seam]bool
	skip   map[string]bool // connections that stand already
	may    func(string) bool
	held   map[seam.Seam]*held
	full   chan struct{} // closed when nothing more is wanted
}

// passage is a connection on its way through a worker: two may meet in two.
type passage struct{ worker, connection string }

// reached is the last seam that a passage has come to.
type reached struct {
	seam seam.Seam
	at   time.Time
}

// held is a connection that stands at a seam.
type held struct {
	seam.Hit
	release chan struct{}
	once    sync.Once
}

func (h *held) unblock() { h.once.Do(func() { close(h.release) }) }

func newControl(book io.Writer) *control {
	return &control{book: book, last: map[passage]reached{}, hits: map[seam.Seam]int{}}
}

// ServeHTTP answers when the connection may go on.
func (c *control) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var hit seam.Hit
	if json.NewDecoder(r.Body).Decode(&hit) != nil {
		return
	}
	if h := c.arrive(hit); h != nil {
		select {
		case <-h.release:
		case <-r.Context().Done(): // the worker was killed
		case <-time.After(3 * time.Minute):
		}
	}
}

func (c *control) arrive(hit seam.Hit) *held {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hits[hit.Seam]++
	p := passage{hit.Worker, hit.Connection}
	// Who only asks beside one that is on its way is turned away by the fence.
	if hit.Seam != seam.BeforeClaim || !c.last[p].onItsWay() {
		c.last[p] = reached{hit.Seam, time.Now()}
	}
	fmt.Fprintln(c.book, time.Now().Format(time.StampMilli), hit.Worker, hit.Seam, hit.Connection)
	if !c.wanted[hit.Seam] || c.skip[hit.Connection] || !c.may(hit.Connection) || c.worker != "" && c.worker != hit.Worker {
		return nil
	}
	h := &held{Hit: hit, release: make(chan struct{})}
	delete(c.wanted, hit.Seam)
	c.skip[hit.Connection] = true
	c.held[hit.Seam] = h
	fmt.Fprintln(c.book, "    is held")
	if len(c.wanted) == 0 {
		close(c.full)
	}
	return h
}

// hold asks for one connection at each seam, of a worker ("" for any), of those
// that may be held; gathered returns when all stand
// there, or after patience.
func (c *control) hold(seams []seam.Seam, worker string, may func(connection string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.may, c.worker = may, worker
	c.wanted, c.skip, c.held, c.full = map[seam.Seam]bool{}, map[string]bool{}, map[seam.Seam]*held{}, make(chan struct{})
	for _, s := range seams {
		c.wanted[s] = true
	}
}

func (c *control) gathered(patience time.Duration) map[seam.Seam]*held {
	select {
	case <-c.full:
	case <-time.After(patience):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = nil
	return c.held
}

// note writes into the book what was done.
func (c *control) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.book, time.Now().Format(time.StampMilli), what)
}

// busiest is the worker in which most connections have come to a seam of late.
func (c *control) busiest() (worker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := map[string]int{}
	for p, r := range c.last {
		if time.Since(r.at) < lately {
			passed[p.worker]++
		}
		if passed[p.worker] > passed[worker] {
			worker = p.worker
		}
	}
	return worker
}

// lately is how far back [control.busiest] looks.
const lately = 10 * time.Second

// inFlight are the connections that a worker was presenting a moment ago: past
// their claim, not past their commit. It is asked after the worker has been
// stopped: what is on its way goes on until then.
func (c *control) inFlight(worker string) map[string]reached {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]reached{}
	for p, r := range c.last {
		if p.worker == worker && r.onItsWay() {
			out[p.connection] = r
		}
	}
	return out
}

// onItsWay: past the claim, and not past the commit, as far as can be known.
func (r reached) onItsWay() bool {
	return time.Since(r.at) < maxHold && r.seam != seam.BeforeClaim && r.seam != seam.AfterCommit
}

// forget drops the passages of a worker that is started anew.
func (c *control) forget(worker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.last, func(p passage, _ reached) bool { return p.worker == worker })
}

// longestHold is above what any connection is held, and any attempt lasts.
const maxHold = 30 * time.Second

// lastOf is when a connection came to its last seam, in any worker.
func (c *control) lastOf(id string) (at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, r := range c.last {
		if p.connection == id && r.at.After(at) {
			at = r.at
		}
	}
	return at
}

// lastIn is the same in one worker.
func (c *control) lastIn(worker, id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[passage{worker, id}].at
}
