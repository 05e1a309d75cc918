package sim

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
)

// epoch is when every simulation begins. Times are microseconds after it.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const second = int64(time.Second / time.Microsecond)

func micros(d time.Duration) int64   { return int64(d / time.Microsecond) }
func instant(at int64) time.Time     { return epoch.Add(time.Duration(at) * time.Microsecond) }
func since(t time.Time) int64        { return micros(t.Sub(epoch)) }
func span(micro int64) time.Duration { return time.Duration(micro) * time.Microsecond }

// connection has 48 bytes with its id, and only that one pointer, because there are a
// million of them.
type connection struct {
	id         string
	wake       int64 // when it is due next
	expires    int64
	generation int32
	life       int32 // of its tokens, in seconds; 0: not refreshed yet
	next       int32 // next one in its second's list; -1: it is the last
	app        uint8
	failures   uint8 // in a row
	waited     bool  // it waits for a rate slot, or has waited
	hurt       bool  // its provider was down since its last refresh
}

// world is a running simulation.
type world struct {
	Config
	rng    *rand.Rand
	fleet  []connection
	heads  []int32 // first connection in each second's list
	apps   []*app
	counts *counts
	batch  []uint64
}

func newWorld(c Config) *world {
	w := &world{Config: c, rng: rand.New(rand.NewPCG(c.Seed, 0)), heads: make([]int32, int(c.For/time.Second)), counts: newCounts(c)}
	for i := range w.heads {
		w.heads[i] = -1
	}
	for i, a := range c.Apps {
		w.apps = append(w.apps, newApp(i, a, c))
	}
	w.people()
	return w
}

// people creates the fleet: old connections at a random point of their cycle, and
// imported ones with the rest of a life.
func (w *world) people() {
	w.fleet = make([]connection, 0, w.Connections)
	add := func(c connection) *connection {
		c.id = "con_" + strconv.Itoa(len(w.fleet))
		w.fleet = append(w.fleet, c)
		return &w.fleet[len(w.fleet)-1]
	}
	number := func(share float64) int { return int(share*float64(w.Connections) + 0.5) }
	for a, app := range w.apps {
		old := number(app.Share)
		app.size = int64(old)
		for _, imp := range w.Imports {
			if imp.App != app.Name {
				continue
			}
			old -= number(imp.Share)
			for range number(imp.Share) {
				c := add(connection{app: uint8(a), generation: 1, expires: micros(imp.At + imp.Left), life: int32(imp.Left / time.Second)})
				w.schedule(len(w.fleet)-1, since(w.Due(0, instant(micros(imp.At)), imp.Left, app.Buffer, c.id, 1)))
			}
		}
		for range old {
			c := add(connection{app: uint8(a), generation: 1 + int32(w.rng.IntN(1000))})
			w.before(c)
			w.schedule(len(w.fleet)-1, c.wake)
		}
	}
}

// before runs a connection's cycles up to the beginning, from a random start at most
// three days and twelve lives earlier.
func (w *world) before(c *connection) {
	app := w.apps[c.app]
	start := -w.rng.Int64N(micros(min(3*24*time.Hour, 12*app.Life)))
	for {
		life := w.life(app)
		c.expires = start + micros(life)
		c.wake = w.due(c, start, life, app)
		if c.wake >= 0 {
			return
		}
		start = c.wake
		c.generation++
	}
}

// due asks the policy. life then becomes the life before.
func (w *world) due(c *connection, start int64, life time.Duration, a *app) int64 {
	before := time.Duration(c.life) * time.Second
	c.life = int32(life / time.Second)
	return since(w.Due(before, instant(start), life, a.Buffer, c.id, int64(c.generation)))
}

func (w *world) life(a *app) time.Duration {
	if a.LifeTo == 0 {
		return a.Life
	}
	return a.Life + time.Duration(w.rng.Int64N(int64(a.LifeTo-a.Life))).Truncate(time.Second)
}

// schedule puts a connection into the list of a time, unless the simulation ends
// before.
func (w *world) schedule(i int, at int64) {
	c := &w.fleet[i]
	c.wake = at
	s := max(at, 0) / second
	if s < int64(len(w.heads)) {
		c.next, w.heads[s] = w.heads[s], int32(i)
	}
}

// run runs every second. Within a second, connections come in the order of their times;
// a limit sees them so.
func (w *world) run() {
	for s := range w.heads {
		for _, a := range w.apps {
			a.probe(w, int64(s)*second)
		}
		for w.heads[s] >= 0 { // a connection that waits less than a second comes into the same list
			w.batch = w.batch[:0]
			for i := w.heads[s]; i >= 0; i = w.fleet[i].next {
				w.batch = append(w.batch, uint64(w.fleet[i].wake%second)<<32|uint64(i))
			}
			w.heads[s] = -1
			slices.Sort(w.batch)
			for _, key := range w.batch {
				i := int(uint32(key))
				w.apps[w.fleet[i].app].admit(w, i)
			}
		}
		w.counts.pass(s)
	}
}

// present presents a refresh token. It returns false if the provider is down.
func (w *world) present(i int, a *app, now int64) (ok bool) {
	c := &w.fleet[i]
	w.counts.request(a.index, now)
	if a.down(now) {
		c.hurt = true
		c.failures = uint8(min(int(c.failures)+1, 255))
		return false
	}
	w.counts.refreshed(a.index, now, c.expires-now, c.hurt)
	c.generation++
	c.failures, c.waited, c.hurt = 0, false, false
	life := w.life(a)
	c.expires = now + micros(life)
	w.schedule(i, w.due(c, now, life, a)+w.rng.Int64N(micros(w.Lag)))
	return true
}

// backoff returns the engine's backoff, with its random part.
func (w *world) backoff(failures uint8) int64 {
	wait := timing.MinBackoff(provider.Reply{Outcome: perennial.OutcomeUnavailable}, int(failures))
	return micros(wait + time.Duration(w.rng.Int64N(int64(wait)/5+1)))
}
