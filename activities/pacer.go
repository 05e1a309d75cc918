package activities

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
)

// PaceEngine presents what a pacer has claimed; [refresh.Engine] in production.
type PaceEngine interface {
	UnsavedSaver
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

// Workflows speaks to the connections' workflows; connect.Temporal in production.
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
	Timing    refresh.Timing
}

// PaceRequest asks a pacer to look after one shard of an app for a while.
type PaceRequest struct {
	App  string        `json:"app"`
	N    int           `json:"n"`
	Of   int           `json:"of"`
	For  time.Duration `json:"for"`
	Beat int64         `json:"beat,omitempty"` // the highest that was seen, see store.PaceRequest
	// After is up to which connection a pacer that retires has handed over.
	After string `json:"after,omitempty"`
}

// PaceResult is what it did.
type PaceResult struct {
	// Done: the app is not pooled any more, or has another number of pacers, and
	// every connection was handed over.
	Done             bool          `json:"done,omitempty"`
	Beat             int64         `json:"beat,omitempty"`
	After            string        `json:"after,omitempty"`
	Refreshed        int64         `json:"refreshed"`
	HandedOver       int64         `json:"handed_over,omitempty"` // to the connections' own workflows
	MarkedRolledBack int64         `json:"rewound,omitempty"`     // rows marked after a restore
	Latest           time.Duration `json:"latest,omitempty"`      // the greatest lateness of a claim
}

const (
	// paceAtOnce is how many connections one pacer presents side by side.
	paceAtOnce = 64
	// paceClaim is how many free places make a claim worth while.
	paceClaim = paceAtOnce / 4
	// paceFirst is how many it presents before the first of them has gone well:
	// as many as open a circuit where the client is rejected. Each that goes well
	// makes room for one more, so all places are given out after five round trips.
	paceFirst = 2
	// paceRest is between two looks at a shard where little was due.
	paceRest = time.Second
	// retiredLate is after how long a pacer that retires still takes a due
	// connection: its own workflow, or another pacer, comes first.
	retiredLate = 10 * time.Second
	// retiredPage is how many connections it hands over between two looks.
	retiredPage = 25
)

// pace is one run of the activity.
type pace struct {
	*Pacer
	shard store.Shard
	runID string
	out   PaceResult
	free  chan struct{} // one for each place that nobody has
	late  time.Duration // see store.PaceRequest

	mu       sync.Mutex
	withheld int // places that are not given out yet: one fewer with each success

	refreshed, handedOver atomic.Int64
	all                   sync.WaitGroup
}

// Pace refreshes the due, healthy connections of one shard until its time is over
// or the worker stops; what it has claimed by then it finishes. Whatever does not
// end in stored tokens goes to the connection's own workflow. Where the app is no
// longer pooled so, it hands its connections over, taking only those meanwhile that
// are late. It heartbeats; two at once, after one was thought dead, do no harm: the
// rows fence them.
func (p *Pacer) Pace(ctx context.Context, req PaceRequest) (PaceResult, error) {
	if activity.HasHeartbeatDetails(ctx) {
		var beat int64
		if err := activity.GetHeartbeatDetails(ctx, &beat); err == nil {
			req.Beat = max(req.Beat, beat)
		}
	}
	r := &pace{Pacer: p, shard: store.Shard{App: req.App, N: req.N, Of: req.Of}, runID: activity.GetInfo(ctx).WorkflowExecution.RunID,
		out: PaceResult{Beat: req.Beat, After: req.After}, free: make(chan struct{}, paceAtOnce)}
	r.giveBack(paceAtOnce)
	r.withhold()
	err := r.run(ctx, req)
	r.all.Wait()
	r.out.Refreshed, r.out.HandedOver = r.refreshed.Load(), r.handedOver.Load()
	return r.out, err
}

func (r *pace) run(ctx context.Context, req PaceRequest) error {
	over := time.NewTimer(req.For)
	defer over.Stop()
	for {
		app, err := r.Apps.App(req.App)
		if err != nil {
			r.out.Done = true // nobody here knows the app
			return nil
		}
		retired := app.Pacers != req.Of
		r.late = 0
		if retired {
			r.late = retiredLate
		}
		activity.RecordHeartbeat(ctx, r.out.Beat)
		more, err := r.claim(ctx, app.MaxRefreshesPerSecond)
		if err != nil {
			// The store is away. This process goes on asking: it knows the beat.
			activity.GetLogger(ctx).Error("nothing claimed", "app", req.App, "error", err)
		}
		rest := paceRest
		if more && err == nil {
			rest = 0
		} else {
			r.withhold()
		}
		if retired && r.handBack(ctx) {
			r.out.Done = true
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-activity.GetWorkerStopChannel(ctx):
			return nil
		case <-over.C:
			return nil
		case <-time.After(rest):
		}
	}
}

// handBack tells the next connections of the shard to read their rows, which says
// whose they are now. It reports whether all were told.
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

// withhold takes back the places that are free, but for paceFirst: what comes after
// a rest begins with few.
func (r *pace) withhold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.withheld < paceAtOnce-paceFirst; r.withheld++ {
		select {
		case <-r.free:
		default:
			return
		}
	}
}

// claim claims as many connections as there are places, once enough are free, and
// starts on them. It reports whether more may be due.
func (r *pace) claim(ctx context.Context, limit float64) (more bool, err error) {
	r.mu.Lock()
	enough := min(paceClaim, paceAtOnce-r.withheld)
	r.mu.Unlock()
	places := 0
	for ; places < enough; places++ {
		select {
		case <-r.free:
		case <-ctx.Done():
			r.giveBack(places)
			return false, nil
		}
	}
	for ; places < paceAtOnce; places++ {
		select {
		case <-r.free:
			continue
		default:
		}
		break
	}
	took, err := r.take(ctx, places, limit)
	r.giveBack(places - took)
	return took == places || took >= paceClaim, err
}

func (r *pace) giveBack(places int) {
	for range places {
		r.free <- struct{}{}
	}
}

// release gives a place back, and another one that was withheld where this one
// served well.
func (r *pace) release(well bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveBack(1)
	if well && r.withheld > 0 {
		r.withheld--
		r.giveBack(1)
	}
}

// take claims at most n connections and presents each on a goroutine of its own,
// which gives its place back.
func (r *pace) take(ctx context.Context, n int, limit float64) (int, error) {
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
	got, err := r.Store.ClaimDue(ctx, store.ClaimDueRequest{Shard: r.shard, Limit: n, Late: r.late, Lease: r.Timing.AttemptDeadline, Trigger: perennial.TriggerTimer, Beat: r.out.Beat})
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
		r.all.Go(func() { r.release(r.present(ctx, claim, began, at)) })
	}
	return len(got.Claims), nil
}

// Slots under a limit lie at least claimLead ahead, which is what a claim takes,
// and at most paceAhead.
const (
	claimLead = 50 * time.Millisecond
	paceAhead = time.Second
)

// present refreshes one claimed connection, and hands it over unless that went
// well, as it nearly always does.
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
	// The sweep finds it where this fails.
	if tellErr := r.Workflows.Signal(context.WithoutCancel(ctx), c, nudge); tellErr != nil {
		activity.GetLogger(ctx).Warn("connection not handed over", "connection_id", c.ID, "error", errors.Join(err, tellErr))
	}
	return false
}
