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

// control is the server that the workers ask at every seam. It holds a connection there
// for as long as the suite wants.
type control struct {
	mu   sync.Mutex
	last map[passage]reached
	hits map[seam.Seam]int // all hits, held or not
	book io.Writer         // receives a line for each hit

	worker string // whose connections are held; "" for any
	wanted map[seam.Seam]bool
	skip   map[string]bool // connections that are already held
	may    func(string) bool
	held   map[seam.Seam]*held
	full   chan struct{} // closed when nothing more is wanted
}

// passage is a connection in a worker. A connection may be in two workers at once.
type passage struct{ worker, connection string }

// reached is the last seam of a passage.
type reached struct {
	seam seam.Seam
	at   time.Time
}

// held is a connection that is held at a seam.
type held struct {
	seam.Hit
	release chan struct{}
	once    sync.Once
}

func (h *held) unblock() { h.once.Do(func() { close(h.release) }) }

func newControl(book io.Writer) *control {
	return &control{book: book, last: map[passage]reached{}, hits: map[seam.Seam]int{}}
}

// ServeHTTP answers when the connection may continue.
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
	// A second attempt beside one in progress is stopped by the fence.
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

// hold asks for one connection at each seam, in the given worker ("" for any), of those
// that may allows. gathered returns when all are held, or after patience.
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

// note writes a line into the book.
func (c *control) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.book, time.Now().Format(time.StampMilli), what)
}

// busiest returns the worker in which most connections recently reached a seam.
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

// inFlight returns the connections that a worker was presenting a moment ago: after
// their claim, before their commit. Call it after the worker was stopped, because until
// then they continue.
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

// onItsWay reports whether the connection is after its claim and before its commit, as
// far as the suite can know.
func (r reached) onItsWay() bool {
	return time.Since(r.at) < maxHold && r.seam != seam.BeforeClaim && r.seam != seam.AfterCommit
}

// forget drops the passages of a worker that is started again.
func (c *control) forget(worker string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.last, func(p passage, _ reached) bool { return p.worker == worker })
}

// maxHold is longer than any connection is held, and than any attempt lasts.
const maxHold = 30 * time.Second

// lastOf returns when a connection reached its last seam, in any worker.
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

// lastIn returns the same for one worker.
func (c *control) lastIn(worker, id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[passage{worker, id}].at
}
