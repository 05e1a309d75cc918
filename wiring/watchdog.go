package wiring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/sdk/client"
)

// watchdog asks the rows whether connections are refreshed in time. It refreshes the
// neglected ones in this process, beside Temporal, for any cause: Temporal may be
// away, refuse us, stall, or answer and do nothing. [store.Neglected] defines neglect, and
// [refresh.Fallback] the refreshes that are allowed. The rows fence it:
// several workers' watchdogs, and workflows that come back, do no harm to each other.
type watchdog struct {
	rows     neglectedRows
	fallback *refresh.Fallback           // nil without a spool: then it only reports
	ask      func(context.Context) error // askTemporal
	patience time.Duration               // two sweeps
	shown    neglectMetrics
	log      *slog.Logger

	answered time.Time // when Temporal last answered
	answer   atomic.Pointer[string]
	episode  atomic.Pointer[episode] // nil: all is well
	failed   complaint               // about the database
	leaves   complaint               // about those left to their workflows
	failures complaint               // about refreshes
	reports  complaint
}

type neglectedRows interface {
	Neglected(ctx context.Context, req store.NeglectedRequest) (store.Neglected, error)
}

// neglectMetrics is metrics.Metrics in production.
type neglectMetrics interface {
	Fallback(on bool)
	Neglected(connections int, since time.Time, answer string)
}

const (
	watchEvery   = 5 * time.Second  // between two looks, on average
	awayAfter    = 15 * time.Second // of silence make Temporal count as away
	awayPatience = time.Second      // after its due time a connection is then refreshed
	besideLimit  = 200              // connections in one look
	besideAtOnce = 8
	calmAfter    = time.Minute // without a neglected connection ends an episode
	remindEvery  = time.Minute // while it lasts
)

// episode is a time in which connections were neglected.
type episode struct {
	since time.Time // the first due time that was missed
	seen  time.Time // when a neglected connection was last seen
	found int       // at the last look
}

// complaint bounds how often the same thing is logged.
type complaint struct{ last time.Time }

func (c *complaint) due() bool {
	if time.Since(c.last) < remindEvery {
		return false
	}
	c.last = time.Now()
	return true
}

// sweepEvery returns the time between two sweeps.
func sweepEvery(cfg *config.Config) time.Duration {
	return workflows.Sweep(cfg.Sweep).WithDefaults().Every
}

// watchdog returns the watchdog of a worker with this engine.
func (d *Deps) watchdog(engine *refresh.Engine, c client.Client, shown neglectMetrics) *watchdog {
	w := &watchdog{rows: d.Store, patience: 2 * sweepEvery(d.Config), shown: shown, log: d.Log,
		ask: func(ctx context.Context) error { return askTemporal(ctx, c, d.Config.TaskQueue) }}
	if d.Spool != nil && !seam.Off(seam.Watchdog) { // without a spool, a set that cannot be saved would be safe nowhere
		w.fallback = &refresh.Fallback{Engine: engine, Rows: d.Store, Apps: d.Config, Sets: w.sets(func(ctx context.Context, id string) ([]store.SaveRequest, error) {
			return workflows.UnsavedSets(ctx, c, id)
		})}
	}
	return w
}

// run looks until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	w.answered = time.Now()
	next := time.NewTimer(rand.N(watchEvery)) // workers that started together do not look together
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		wait := watchEvery*4/5 + rand.N(watchEvery*2/5)
		if w.look(ctx) {
			wait = 0
		}
		next.Reset(wait)
	}
}

// look looks once. again reports whether there is more to do at once.
func (w *watchdog) look(ctx context.Context) (again bool) {
	away := w.temporalIsAway(ctx)
	if ctx.Err() != nil {
		return false
	}
	bounded, cancel := context.WithTimeout(ctx, pollTimeout)
	found, err := w.rows.Neglected(bounded, w.request(away))
	cancel()
	if err != nil {
		if ctx.Err() == nil && w.failed.due() {
			w.log.Error("neglected connections cannot be read at present", "error", err)
		}
		return false
	}
	w.note(found, away)
	if w.fallback == nil {
		return false
	}
	return w.refresh(ctx, found.Connections)
}

// request asks for the connections that this worker would refresh now.
func (w *watchdog) request(away bool) store.NeglectedRequest {
	req := store.NeglectedRequest{Patience: w.patience, Limit: besideLimit}
	if away {
		req.Patience = min(awayPatience, w.patience)
	}
	return req
}

// temporalIsAway asks Temporal, and reports whether it has not answered for [awayAfter].
func (w *watchdog) temporalIsAway(ctx context.Context) bool {
	asking, cancel := context.WithTimeout(ctx, probeTimeout)
	err := w.ask(asking)
	cancel()
	answer := answerOf(err)
	w.answer.Store(&answer)
	if err == nil {
		w.answered = time.Now()
	}
	return time.Since(w.answered) > awayAfter
}

// sets asks Temporal for the token sets in a connection's workflow, if it answers at all.
func (w *watchdog) sets(of func(context.Context, string) ([]store.SaveRequest, error)) func(context.Context, string) ([]store.SaveRequest, error) {
	return func(ctx context.Context, id string) ([]store.SaveRequest, error) {
		if answer := w.answer.Load(); answer == nil || *answer != "OK" {
			return nil, errors.New("no answer from Temporal")
		}
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return of(ctx, id)
	}
}

// note shows the findings in the metrics, for the probes and in the log.
func (w *watchdog) note(found store.Neglected, away bool) {
	answer := *w.answer.Load()
	before := w.episode.Load()
	now := time.Now()
	var after *episode
	switch {
	case found.Found > 0:
		after = &episode{since: found.Since, seen: now, found: found.Found}
		if before != nil {
			after.since = before.since
		}
	case before != nil && now.Sub(before.seen) < calmAfter:
		after = &episode{since: before.since, seen: before.seen}
	}
	w.episode.Store(after)
	w.shown.Fallback(w.fallback != nil && (away || after != nil))
	w.shown.Neglected(found.Found, found.Since, answer)
	switch {
	case before == nil && after != nil, found.Found > 0 && w.reports.due():
		w.reports.due()
		w.log.Warn("connections are neglected: nobody refreshes them in time", "connections", found.Found, "since", after.since, "first", firstIDs(found.Connections),
			"temporal", answer, "refreshed_here", w.fallback != nil, "do", w.advice(answer))
	case before != nil && after == nil:
		w.log.Info("no connection is neglected any more", "since", before.seen)
	}
}

// firstIDs names the first few connections.
func firstIDs(cs []perennial.Connection) (ids []string) {
	for _, c := range cs[:min(3, len(cs))] {
		ids = append(ids, c.ID)
	}
	return ids
}

// advice tells a person the remedy.
func (w *watchdog) advice(answer string) string {
	do := "run `perennial doctor`: its lines `overdue`, `workers`, `sweep` and `workflows` have the cause"
	switch {
	case refused(answer):
		do = "renew this process's Temporal credentials; `perennial doctor` names the calls that Temporal refuses"
	case answer != "OK":
		do = "start Temporal, or correct TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
	}
	if w.fallback == nil {
		do += "; configure a spool, without which this process refreshes nothing beside Temporal"
	}
	return do
}

// wrong returns the line of the probes, empty if all is well.
func (w *watchdog) wrong() string {
	e, answer := w.episode.Load(), w.answer.Load()
	if e == nil || answer == nil {
		return ""
	}
	here := "refreshed by this process"
	if w.fallback == nil {
		here = "not refreshed"
	}
	return fmt.Sprintf("neglected connections: %d, %s, since %s; Temporal: %s; %s", e.found, here, e.since.UTC().Format(time.RFC3339), *answer, w.advice(*answer))
}

// refresh refreshes connections in their order, a few at once, and starts none after the
// time between two looks: by then others may be more urgent. again reports whether it
// refreshed some and left others.
func (w *watchdog) refresh(ctx context.Context, cs []perennial.Connection) (again bool) {
	over := time.Now().Add(watchEvery)
	slots := make(chan struct{}, besideAtOnce)
	var all sync.WaitGroup
	var mu sync.Mutex
	var done, left, failed int
	var why, cause error
	started := 0
	for _, c := range cs {
		slots <- struct{}{}
		if ctx.Err() != nil || time.Now().After(over) {
			break
		}
		started++
		all.Go(func() {
			defer func() { <-slots }()
			res, err := w.fallback.Refresh(ctx, c, func(save func()) { save() })
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, refresh.ErrLeftToWorkflow):
				left, why = left+1, err
			case err != nil && ctx.Err() == nil:
				failed, cause = failed+1, err
			case res.Outcome == perennial.OutcomeRefreshed:
				done++
			}
		})
	}
	all.Wait()
	if left > 0 && w.leaves.due() {
		w.log.Warn("neglected connections are left to their workflows", "connections", left, "last", why)
	}
	if failed > 0 && w.failures.due() {
		w.log.Error("neglected connections are not refreshed beside Temporal", "connections", failed, "last", cause)
	}
	return done > 0 && (started < len(cs) || len(cs) == besideLimit)
}
