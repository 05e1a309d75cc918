package main

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/internal/seam"
)

// control is asked by the workers at every seam, and holds a connection there
// while the suite wants it.
type control struct {
	mu   sync.Mutex
	last map[string]reached // of each connection
	hits map[seam.Seam]int  // all that passed, held or not

	worker string // whose connections are held; "" for any
	wanted map[seam.Seam]bool
	skip   map[string]bool // connections that stand already
	may    func(string) bool
	held   map[seam.Seam]*held
	full   chan struct{} // closed when nothing more is wanted
}

// reached is the last seam that a connection has come to.
type reached struct {
	seam   seam.Seam
	worker string
	at     time.Time
}

// held is a connection that stands at a seam.
type held struct {
	seam.Hit
	release chan struct{}
	once    sync.Once
}

func (h *held) letGo() { h.once.Do(func() { close(h.release) }) }

func newControl() *control {
	return &control{last: map[string]reached{}, hits: map[seam.Seam]int{}}
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
	c.last[hit.Connection] = reached{hit.Seam, hit.Worker, time.Now()}
	if !c.wanted[hit.Seam] || c.skip[hit.Connection] || !c.may(hit.Connection) || c.worker != "" && c.worker != hit.Worker {
		return nil
	}
	h := &held{Hit: hit, release: make(chan struct{})}
	delete(c.wanted, hit.Seam)
	c.skip[hit.Connection] = true
	c.held[hit.Seam] = h
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

// inFlight are the connections that a worker was presenting a moment ago: past
// their claim, not past their commit. It is asked after the worker has been
// stopped: what is on its way goes on until then.
func (c *control) inFlight(worker string) map[string]reached {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]reached{}
	for id, r := range c.last {
		if r.worker == worker && time.Since(r.at) < 15*time.Second && r.seam != seam.BeforeClaim && r.seam != seam.AfterCommit {
			out[id] = r
		}
	}
	return out
}

func (c *control) lastOf(id string) reached {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last[id]
}
