package neighbours

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// seedsVariable says how many seeds to run instead (make long-neighbours), and
// firstVariable from which on. By default they are the same in each run.
const (
	seedsVariable = "PERENNIAL_TEST_GATE_SEEDS"
	firstVariable = "PERENNIAL_TEST_GATE_SEED"
	seedsInCI     = 200
	// together is how many apps share a world, which costs less than a world for each.
	together = 50
)

// The times of a seed: a disorder, then a provider that is well for those that may go,
// and a watch that outlasts every wait of a connection's own.
const (
	disorder = 20 * time.Minute
	inFlight = 25 * time.Second // a request of the disorder may still be under way for as long
	watch    = 40 * time.Minute
)

// small app of one seed.
type smallApp struct {
	name string
	rng  *rand.Rand
	ids  []string
	sick map[string]bool // those that stay sick at the end
}

// TestGateNeverStarves: failures of every kind, mends, pauses, disconnects, killed
// workers and ended holds, in a random order. Once the provider is well for a connection
// that may go, it is refreshed within two probe intervals, its turn in the release, and
// ten seconds, in spite of all others. Each connection that goes on failing may take two
// probes first: nothing tells it from one that is well.
func TestGateNeverStarves(t *testing.T) {
	t.Parallel()
	seeds := seedsInCI
	if n, err := strconv.Atoi(os.Getenv(seedsVariable)); err == nil {
		seeds = n
	}
	first := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv(firstVariable), 10, 64); err == nil {
		first = n
	}
	t.Logf("the first seed is %d", first)
	for from := 0; from < seeds; from += together {
		n := min(together, seeds-from)
		t.Run(fmt.Sprint(from), func(t *testing.T) {
			t.Parallel()
			starves(t, first+uint64(from), n)
		})
	}
}

func starves(t *testing.T, first uint64, n int) {
	at := database(t)
	synctest.Test(t, func(t *testing.T) {
		var apps []*smallApp
		pacers := map[string]int{}
		for i := range n {
			seed := first + uint64(i)
			a := &smallApp{name: fmt.Sprintf("app%d", seed), rng: rand.New(rand.NewPCG(seed, 1)), sick: map[string]bool{}}
			apps = append(apps, a)
			pacers[a.name] = max(a.rng.IntN(8)-6, 0) // one in eight is pooled: pacers look each second
		}
		w := newWorld(t, at, pacers)
		defer w.close(t)
		var ids []string
		for _, a := range apps {
			a.populate(t, w)
			ids = append(ids, a.ids...)
		}
		w.start(ids)
		for _, a := range apps {
			w.all.Go(func() { a.disturb(w) })
		}
		time.Sleep(disorder)
		for _, a := range apps {
			a.settle(w)
		}
		well := time.Now()
		time.Sleep(inFlight)
		var all []promise
		for _, a := range apps {
			all = append(all, a.promises(t, w, well)...)
		}
		time.Sleep(watch)
		for _, p := range all {
			p.check(t, w)
		}
		t.Logf("%d connections that might go", len(all))
		assert.NotEmpty(t, all)
	})
}

// populate adds 2 to 12 connections of one to three tenants; some are imports.
func (a *smallApp) populate(t *testing.T, w *world) {
	t.Helper()
	of := 1 + a.rng.IntN(3)
	for i := range 2 + a.rng.IntN(11) {
		id := fmt.Sprintf("%s-%d", a.name, i)
		a.ids = append(a.ids, id)
		start := time.Now().Add(-time.Duration(a.rng.Int64N(int64(cycle))))
		w.add(t, a.name, id, tenantOf(i%of), start, a.rng.IntN(6) == 0)
	}
}

// disturb does random things until the disorder ends.
func (a *smallApp) disturb(w *world) {
	for end := time.Now().Add(disorder); ; {
		time.Sleep(time.Duration(a.rng.Int64N(int64(time.Minute))))
		if !time.Now().Before(end) || w.ctx.Err() != nil {
			return
		}
		id := a.ids[a.rng.IntN(len(a.ids))]
		switch a.rng.IntN(10) {
		case 0, 1: // everybody fails
			k := kinds[a.rng.IntN(len(kinds))]
			for _, id := range a.ids {
				w.endpoint.falls(id, k, time.Time{})
			}
		case 2, 3: // one fails
			w.endpoint.falls(id, kinds[a.rng.IntN(len(kinds))], time.Time{})
		case 4, 5: // everybody is well
			for _, id := range a.ids {
				w.endpoint.mends(id)
			}
		case 6: // a worker dies after it has claimed
			w.loses(id)
		case 7:
			w.restarts(id)
		case 8: // an operator calls a hold a false alarm
			_ = w.workers[0].store.DismissRefusalHold(w.ctx, a.name)
		case 9: // a customer pauses, resumes or disconnects
			a.changeStatus(w, id)
		}
	}
}

// changeStatus pauses an active connection or resumes a paused one; rarely it
// disconnects one. Another change may win.
func (a *smallApp) changeStatus(w *world, id string) {
	s := w.workers[0].store
	c, _, err := s.Get(w.ctx, perennial.WorkerAccess(), id)
	if err != nil {
		return
	}
	to := perennial.StatusPaused
	switch {
	case c.Status == perennial.StatusPaused:
		to = perennial.StatusActive
	case a.rng.IntN(4) == 0:
		to = perennial.StatusDisconnected
	}
	if c, err = s.SetStatus(w.ctx, perennial.WorkerAccess(), id, []perennial.Status{perennial.StatusActive, perennial.StatusPaused}, c.Generation, to, ""); err == nil {
		_ = w.Signal(w.ctx, c, "nudge")
	}
}

// loses claims a connection for a worker that dies before it presents, and lets another
// take its workflow over.
func (w *world) loses(id string) {
	s := w.workers[0].store
	c, _, err := s.Get(w.ctx, perennial.WorkerAccess(), id)
	if err != nil {
		return
	}
	_, _ = s.Claim(w.ctx, store.ClaimRequest{ID: id, Generation: c.Generation, Trigger: perennial.TriggerTimer, AttemptID: uuid.NewString(),
		Lease: w.timing.AttemptDeadline, Class: perennial.ReplayUnknown})
	w.restarts(id)
}

// restarts ends a workflow that sleeps. Another worker takes it over after ten seconds,
// from the row.
func (w *world) restarts(id string) {
	w.mu.Lock()
	if f := w.flows[id]; f != nil {
		close(f.kill)
		delete(w.flows, id)
	}
	w.mu.Unlock()
	time.Sleep(10 * time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nudge(id)
}

// settle makes all connections well, or most, or only one. The others go on failing. In
// some apps customers pause all but two of theirs.
func (a *smallApp) settle(w *world) {
	mends := func(int) bool { return true }
	switch one := a.rng.IntN(len(a.ids)); a.rng.IntN(4) {
	case 0:
		mends = func(int) bool { return a.rng.IntN(3) > 0 }
	case 1:
		mends = func(i int) bool { return i == one }
	}
	pausing := a.rng.IntN(4) == 0
	for i, id := range a.ids {
		if pausing && i > 1 {
			a.pause(w, id)
		}
		if mends(i) {
			w.endpoint.mends(id)
			continue
		}
		a.sick[id] = true
		w.endpoint.falls(id, kinds[a.rng.IntN(len(kinds))], time.Time{})
	}
}

// pause pauses an active connection.
func (a *smallApp) pause(w *world, id string) {
	s := w.workers[0].store
	c, _, err := s.Get(w.ctx, perennial.WorkerAccess(), id)
	if err != nil {
		return
	}
	if c, err = s.SetStatus(w.ctx, perennial.WorkerAccess(), id, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusPaused, ""); err == nil {
		_ = w.Signal(w.ctx, c, "nudge")
	}
}

// promise is by when a connection must be refreshed.
type promise struct {
	row  perennial.Connection // once no request of the disorder is under way
	well time.Time            // since when the provider is well for it
	from time.Time            // when it may go
	by   time.Time
	gate string // for the message
}

// turn bounds the turn of a small app's connection in a release: the steps of a second,
// and those before it that have their turn and do not come.
const turn = 20 * time.Second

// promises returns those of the app's connections for which the provider is well.
func (a *smallApp) promises(t *testing.T, w *world, well time.Time) (all []promise) {
	t.Helper()
	s := w.workers[0].store
	state, err := s.AppState(t.Context(), a.name)
	require.NoError(t, err)
	probes, interval, gate := a.probes(t, w), w.timing.ProbeInterval, "closed"
	for _, c := range state.Circuits {
		if c.Open {
			interval, gate = store.ProbeWait(w.timing.ProbeInterval, c.Probes+int(probes)), fmt.Sprintf("%s %s, %d probes, next %s", c.Reason, c.Code, c.Probes, c.NextProbeAt)
		}
	}
	for _, id := range a.ids {
		c, now, err := s.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		if a.sick[id] || c.Status != perennial.StatusActive {
			continue
		}
		p := promise{row: c, well: well, from: c.NextRefreshAt, gate: gate}
		if c.FailureCount > 0 || c.Suspect() || c.Ambiguous() || !c.Open.IsZero() {
			// A wait of its own stands: a backoff, a confirmation, an attempt that was lost.
			p.from = c.WaitsUntil(now)
			if c.Open.Alive(now) {
				p.from = maxTime(p.from, c.Open.Deadline)
			}
		}
		p.from = maxTime(p.from, now)
		if w.apps[a.name].Pacers > 0 && !c.Open.IsZero() {
			// Its claimant is dead, and its workflow left it to the pacers: the sweep
			// finds it once it is due.
			p.from = maxTime(p.from, c.NextRefreshAt).Add(sweepGrace + sweepEvery)
		}
		p.by = p.from.Add(probes*interval + turn + 10*time.Second)
		all = append(all, p)
	}
	return all
}

// probes is how many intervals may pass until a probe meets a connection that is well:
// two, and two more for each that goes on failing.
func (a *smallApp) probes(t *testing.T, w *world) time.Duration {
	t.Helper()
	sick := 0
	for _, id := range a.ids {
		c, _, err := w.workers[0].store.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		if c.Status == perennial.StatusActive && a.sick[id] {
			sick++
		}
	}
	return time.Duration(2 + 2*sick)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// check checks that a promise was kept.
func (p promise) check(t *testing.T, w *world) {
	t.Helper()
	c, _, err := w.workers[0].store.Get(t.Context(), perennial.WorkerAccess(), p.row.ID)
	require.NoError(t, err)
	var at time.Time
	for _, good := range w.endpoint.goods(p.row.ID) {
		if good.After(p.well) && (at.IsZero() || p.row.LastRefreshedAt.Before(p.well) || good.After(p.row.LastRefreshedAt)) {
			at = good
			break
		}
	}
	if at.IsZero() || at.After(p.by) {
		start := p.well
		t.Errorf("%s: pacers %d, since then %s; well at 0s, might go at %s, was promised for %s and refreshed at %s.\nThe gate was %s.\nThen: %s %s failures %d, queued %t, proven %t, next %s.\nNow: %s %s %s", p.row.ID, w.apps[p.row.App].Pacers, w.since(t, p.row.App, start),
			p.from.Sub(start), p.by.Sub(start), at.Sub(start), p.gate, p.row.Health, p.row.FailingCode, p.row.FailureCount, !p.row.QueuedAt.IsZero(), p.row.Proven(), p.row.NextAttemptAt.Sub(start), c.Status, c.Health, c.FailingCode)
	}
}

// since returns the events of an app since a time, with their time after it.
func (w *world) since(t *testing.T, app string, from time.Time) (out []string) {
	t.Helper()
	events, err := w.workers[0].store.Events(t.Context(), "", 100_000)
	require.NoError(t, err)
	for _, e := range events {
		if e.App == app && !e.CreatedAt.Before(from) {
			out = append([]string{fmt.Sprintf("%s %s %s %s", e.CreatedAt.Sub(from).Round(time.Second), e.Type, e.ConnectionID, e.Data.Code)}, out...)
		}
	}
	return out
}
