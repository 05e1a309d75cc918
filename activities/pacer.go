package activities

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
)

// PaceEngine presents the connections that a pacer has claimed; [refresh.Engine] in
// production.
type PaceEngine interface {
	UnsavedSaver
	// Ready returns an error while nothing may be presented.
	Ready() error
	RefreshClaimed(ctx context.Context, claim store.Claim, began, slot time.Time, runID string) (refresh.Result, error)
}

// PaceStore claims in bulk; store.Store in production.
type PaceStore interface {
	ClaimDue(ctx context.Context, req store.ClaimDueRequest) (store.ClaimDueResult, error)
	MarkRolledBack(ctx context.Context, shard store.Shard, beat int64) (int64, error)
	Due(ctx context.Context, shard store.Shard, limit int) (int, error)
	Members(ctx context.Context, shard store.Shard, after string, limit int) ([]perennial.Connection, error)
	TakeSlots(ctx context.Context, app string, rate float64, lead, ahead time.Duration, n int) (first time.Time, gap time.Duration, taken int, err error)
}

// Workflows signals the connections' workflows; connect.Temporal in production.
type Workflows interface {
	Signaller
	Journal
}

// Pacer holds the dependencies of the Pace activity. Safe for concurrent use.
type Pacer struct {
	Engine    PaceEngine
	Store     PaceStore
	Workflows Workflows
	Apps      refresh.Apps
	Timing    timing.Config
	// Slow counts the presentations that outlive their activity, because the provider
	// answers slowly. The process must wait for them before it ends. Nil: the activity
	// waits for each.
	Slow *sync.WaitGroup
}

// PaceRequest makes a pacer refresh one shard of an app for a while.
type PaceRequest struct {
	App  string        `json:"app"`
	N    int           `json:"n"`
	Of   int           `json:"of"`
	For  time.Duration `json:"for"`
	Beat int64         `json:"beat,omitempty"` // the highest seen so far, see store.ClaimDueRequest
	// After is the last connection that a retiring pacer has handed over.
	After string `json:"after,omitempty"`
}

// PaceResult is what a pacer did.
type PaceResult struct {
	// Done: the app is no longer pooled, or has another number of pacers, and this
	// pacer has handed over every connection.
	Done             bool          `json:"done,omitempty"`
	Beat             int64         `json:"beat,omitempty"`
	After            string        `json:"after,omitempty"`
	Refreshed        int64         `json:"refreshed"`
	HandedOver       int64         `json:"handed_over,omitempty"` // to the connections' own workflows
	MarkedRolledBack int64         `json:"rewound,omitempty"`     // rows marked after a restore
	Latest           time.Duration `json:"latest,omitempty"`      // the greatest delay of a claim after its due time
}

const (
	// paceAtOnce bounds the connections that one pacer refreshes concurrently.
	paceAtOnce = 64
	// paceClaim is how many free places make a claim worth its cost.
	paceClaim = paceAtOnce / 4
	// paceGather bounds the wait for that many.
	paceGather = 100 * time.Millisecond
	// paceFirst is how many connections the pacer presents before the first success: as
	// many failures as open the circuit when the provider rejects the client. Each
	// success frees one more place, so after five round trips all places are in use.
	paceFirst = 2
	// paceRest is the pause between two claims of a shard with little due.
	paceRest = time.Second
	// paceWarm is how long after a success all places stay in use. The provider works
	// then, and a slow reply must not keep the only places.
	paceWarm = 10 * time.Second
	// paceSlow is how long a presentation keeps its place. One that takes longer lends it
	// to another.
	paceSlow = 5 * time.Second
	// paceLent bounds the places that are lent, and with them the requests of a pacer to a
	// provider that answers nothing.
	paceLent = paceAtOnce / 4
	// paceEnd bounds the wait at the end of an activity whose shard goes on.
	paceEnd = time.Second
	// retiredLate is how late a connection must be before a retiring pacer still
	// refreshes it. Its own workflow, or another pacer, comes first.
	retiredLate = 10 * time.Second
	// retiredPage is how many connections a retiring pacer hands over between two
	// claims.
	retiredPage = 25
)

// pace is one run of the activity.
type pace struct {
	*Pacer
	shard store.Shard
	runID string
	out   PaceResult
	free  chan struct{} // one entry for each free place
	late  time.Duration // see store.ClaimDueRequest

	mu       sync.Mutex
	withheld int       // places not in use yet; each success frees one
	wellAt   time.Time // when the last success was
	lent     int       // places that slow presentations have lent

	refreshed, handedOver atomic.Int64
	all                   sync.WaitGroup
}

// Pace refreshes the due, healthy connections of one shard until its time is over or
// the worker stops, and then finishes what it has claimed; see [pace.finish] for what the
// provider answers slowly. Everything but stored tokens
// it hands to the connection's own workflow. If the app no longer has this many pacers,
// Pace hands its connections over, and meanwhile refreshes only those that are late. It
// heartbeats. Two pacers at once, after one seemed dead, do no harm: the rows fence
// them.
func (p *Pacer) Pace(ctx context.Context, req PaceRequest) (PaceResult, error) {
	if activity.HasHeartbeatDetails(ctx) {
		var beat int64
		if err := activity.GetHeartbeatDetails(ctx, &beat); err == nil {
			req.Beat = max(req.Beat, beat)
		}
	}
	r := p.newPace(req, activity.GetInfo(ctx).WorkflowExecution.RunID)
	r.giveBack(paceAtOnce)
	r.withhold()
	goesOn, err := r.run(ctx, req)
	r.finish(goesOn)
	r.out.Refreshed, r.out.HandedOver = r.refreshed.Load(), r.handedOver.Load()
	return r.out, err
}

// newPace goes on where the activity before it ended.
func (p *Pacer) newPace(req PaceRequest, runID string) *pace {
	return &pace{Pacer: p, shard: store.Shard{App: req.App, N: req.N, Of: req.Of}, runID: runID,
		out: PaceResult{Beat: req.Beat, After: req.After}, free: make(chan struct{}, paceAtOnce)}
}

// run claims until the time is over. goesOn says that only the time ended it: the shard
// has more to do at once.
func (r *pace) run(ctx context.Context, req PaceRequest) (goesOn bool, err error) {
	over := time.NewTimer(req.For)
	defer over.Stop()
	told := false // an outage is logged once
	for {
		app, err := r.Apps.App(req.App)
		if err != nil {
			r.out.Done = true // this worker does not know the app
			return false, nil
		}
		retired := app.Pacers != req.Of
		r.late = 0
		if retired {
			r.late = retiredLate
		}
		activity.RecordHeartbeat(ctx, r.out.Beat)
		more, err := r.claim(ctx, app.MaxRefreshesPerSecond)
		if err != nil {
			// The store does not answer. Go on trying here, because this process knows
			// the beat.
			if !told {
				activity.GetLogger(ctx).Error("nothing claimed", "app", req.App, "error", err)
			}
		}
		told = err != nil
		rest := paceRest
		if more && err == nil {
			rest = 0
		} else {
			r.withhold()
		}
		if retired && r.handBack(ctx) {
			r.out.Done = true
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-activity.GetWorkerStopChannel(ctx):
			return false, nil
		case <-over.C:
			return true, nil
		case <-time.After(rest):
		}
	}
}

// finish waits for the presentations under way. If the shard goes on, it leaves the slow
// ones behind: the next activity starts when this one ends, and nobody waits for another
// connection's provider. Their rows fence them, and Slow counts them.
func (r *pace) finish(goesOn bool) {
	if !goesOn || r.Slow == nil {
		r.all.Wait()
		return
	}
	done := make(chan struct{})
	go func() { r.all.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(paceEnd):
	}
}

// handBack signals the next connections of the shard to read their rows; the row alone
// determines whether a pacer or the workflow refreshes it. handBack reports whether
// every signal was sent.
func (r *pace) handBack(ctx context.Context) (all bool) {
	page, err := r.Store.Members(ctx, r.shard, r.out.After, retiredPage)
	if err != nil {
		activity.GetLogger(ctx).Error("connections not handed over yet", "app", r.shard.App, "error", err)
		return false
	}
	tick := time.NewTicker(nudgeGap)
	defer tick.Stop()
	for _, c := range page {
		if err := r.Workflows.Signal(ctx, c, nudge); err != nil {
			activity.GetLogger(ctx).Warn("connections not handed over yet", "app", r.shard.App, "error", err)
			return false
		}
		r.out.After = c.ID
		<-tick.C
	}
	return len(page) == 0
}

// withhold takes back all free places but paceFirst, so that the work after a time
// without a success starts slowly.
func (r *pace) withhold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.wellAt.IsZero() && time.Since(r.wellAt) < paceWarm {
		return
	}
	for ; r.withheld < paceAtOnce-paceFirst; r.withheld++ {
		select {
		case <-r.free:
		default:
			return
		}
	}
}

// claim claims a connection for each free place and starts to refresh them. It reports
// whether more may be due.
func (r *pace) claim(ctx context.Context, limit float64) (more bool, err error) {
	places := r.places(ctx)
	if places == 0 {
		return true, nil
	}
	took, err := r.take(ctx, places, limit)
	r.giveBack(places - took)
	return took == places || took >= paceClaim, err
}

// places takes the free places: as many as make a claim worth its cost, or those that
// become free within paceGather. A provider that answers slowly keeps its own places, and
// nobody waits for them.
func (r *pace) places(ctx context.Context) (n int) {
	r.mu.Lock()
	enough := min(paceClaim, paceAtOnce-r.withheld)
	r.mu.Unlock()
	gather := time.NewTimer(paceGather)
	defer gather.Stop()
	for n < enough {
		select {
		case <-r.free:
			n++
			continue
		case <-gather.C:
		case <-ctx.Done():
		}
		break
	}
	for n < paceAtOnce {
		select {
		case <-r.free:
			n++
			continue
		default:
		}
		break
	}
	return n
}

func (r *pace) giveBack(places int) {
	for range places {
		r.free <- struct{}{}
	}
}

// lend frees the place of a presentation once it is slow, unless too many are lent. end
// reports whether it was lent.
func (r *pace) lend() (end func() bool) {
	var lent, over bool
	slow := time.AfterFunc(paceSlow, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !over && r.lent < paceLent {
			lent = true
			r.lent++
			r.giveBack(1)
		}
	})
	return func() bool {
		slow.Stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		over = true
		if lent {
			r.lent--
		}
		return lent
	}
}

// release frees a place, unless it was lent, and after a success one more that was
// withheld.
func (r *pace) release(well, lent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !lent {
		r.giveBack(1)
	}
	if well {
		r.wellAt = time.Now()
	}
	if well && r.withheld > 0 {
		r.withheld--
		r.giveBack(1)
	}
}

func (r *pace) dueRequest(n int) store.ClaimDueRequest {
	app, _ := r.Apps.App(r.shard.App) // one that is not known here presents nothing
	return store.ClaimDueRequest{Shard: r.shard, Limit: n, Late: r.late, Lease: r.Timing.Lease(app.Provider), Trigger: perennial.TriggerTimer, Beat: r.out.Beat}
}

// take claims at most n connections and refreshes each in its own goroutine, which
// frees its place at the end.
func (r *pace) take(ctx context.Context, n int, limit float64) (int, error) {
	if err := r.Engine.Ready(); err != nil {
		return 0, err
	}
	var slot time.Time
	var gap time.Duration
	if limit > 0 {
		due, err := r.Store.Due(ctx, r.shard, n)
		if err != nil || due == 0 {
			return 0, err
		}
		if slot, gap, n, err = r.Store.TakeSlots(ctx, r.shard.App, limit, claimLead, paceAhead, due); err != nil || n == 0 {
			return 0, err
		}
	}
	began := time.Now()
	got, err := r.Store.ClaimDue(ctx, r.dueRequest(n))
	if err != nil {
		return 0, err
	}
	if got.RolledBack {
		marked, err := r.Store.MarkRolledBack(ctx, r.shard, r.out.Beat)
		activity.GetLogger(ctx).Error("the database went backwards: its rows are in doubt, and their workflows look after them", "app", r.shard.App, "rows", marked, "error", err)
		r.out.MarkedRolledBack += marked
		return 0, err
	}
	r.out.Beat = got.Beat
	for i, claim := range got.Claims {
		r.out.Latest = max(r.out.Latest, claim.Now.Sub(claim.Connection.NextRefreshAt))
		at := slot
		if !at.IsZero() {
			at = slot.Add(time.Duration(i) * gap)
		}
		r.start(func() {
			end := r.lend()
			well := r.present(ctx, claim, began, at)
			r.release(well, end())
		})
	}
	return len(got.Claims), nil
}

// start runs one presentation beside the others.
func (r *pace) start(present func()) {
	if r.Slow != nil {
		r.Slow.Add(1)
	}
	r.all.Go(func() {
		if r.Slow != nil {
			defer r.Slow.Done()
		}
		present()
	})
}

// The rate slots of a pacer lie at least claimLead ahead, which is how long a claim
// takes, and at most paceAhead.
const (
	claimLead = 50 * time.Millisecond
	paceAhead = time.Second
)

// present refreshes one claimed connection. If that fails, which is rare, it hands the
// connection over to its workflow.
func (r *pace) present(ctx context.Context, claim store.Claim, began, slot time.Time) (well bool) {
	c := claim.Connection
	res, err := r.Engine.RefreshClaimed(ctx, claim, began, slot, r.runID)
	if err == nil && res.Unsaved != nil {
		keep(ctx, r.Workflows, r.Engine, c, *res.Unsaved)
		r.handedOver.Add(1)
		return false
	}
	if err == nil && res.Outcome == perennial.OutcomeRefreshed {
		r.refreshed.Add(1)
		return true
	}
	r.handedOver.Add(1)
	// If the signal fails, the sweep finds the connection.
	if tellErr := r.Workflows.Signal(context.WithoutCancel(ctx), c, nudge); tellErr != nil {
		activity.GetLogger(ctx).Warn("connection not handed over", "connection_id", c.ID, "error", errors.Join(err, tellErr))
	}
	return false
}
