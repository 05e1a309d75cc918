// Package activities holds Perennial's Temporal activities. Each is thin: it
// calls one of the rooms below and turns the answer into what may stand in a
// workflow's history. No token, secret or provider body passes through here.
package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
)

// Engine refreshes one connection; [refresh.Engine] in production.
type Engine interface {
	UnsavedSaver
	Refresh(ctx context.Context, req refresh.Request) (refresh.Result, error)
}

// Store reads rows; store.Store in production.
type Store interface {
	// Get returns the row and the database's clock.
	Get(ctx context.Context, id string) (perennial.Connection, time.Time, error)
	// Digest sums up the ledger of a connection between two times.
	SummarizeLedger(ctx context.Context, id string, from, to time.Time) (store.LedgerSummary, error)
}

// Activities are the activities' dependencies. Register a value with a worker,
// or let a platform team's own worker do it; workflows refer to the methods of a
// nil *Activities. Safe for concurrent use.
type Activities struct {
	Engine  Engine
	Store   Store
	Apps    refresh.Apps // for the provider's title in what people read
	Journal Journal
}

// Journal gives a sealed token set that could not be stored to the connection's
// workflow, which holds it until it is: connect.Temporal in production. It returns
// once the set is durable there.
type Journal interface {
	Unsaved(ctx context.Context, c perennial.Connection, req store.SaveRequest) error
}

// New returns the activities.
func New(engine Engine, rows Store, apps refresh.Apps, journal Journal) *Activities {
	return &Activities{Engine: engine, Store: rows, Apps: apps, Journal: journal}
}

// shortWait is the longest wait that is an activity retry, which ops see as a
// pending activity with its cause and next try. Longer ones are workflow
// timers: they must not bar continue-as-new. So is every wait of a held connection,
// which failed at nothing itself: it is called in, and a timer is cheaper to end.
const shortWait = time.Minute

// LoadRequest asks for one row.
type LoadRequest struct {
	ConnectionID string `json:"connection_id"`
	// Since is when the last digest was written, by the database's clock; zero: the
	// workflow has seen none.
	Since time.Time `json:"since,omitzero"`
}

// Load reads the connection's row; of a pooled app also what became of it since
// its workflow last looked. A missing row is a View with Gone set, not an error.
func (a *Activities) Load(ctx context.Context, req LoadRequest) (View, error) {
	c, now, err := a.Store.Get(ctx, req.ConnectionID)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return View{Gone: true}, nil
	}
	if err != nil {
		return View{}, fmt.Errorf("read connection %s: %w", req.ConnectionID, err)
	}
	v := a.view(c, now)
	v.SlotGranted = activity.GetInfo(ctx).IsLocalActivity && !c.QueuedAt.IsZero() && v.Trigger != "" && v.Wait == 0
	if app, err := a.Apps.App(c.App); err != nil || app.Pacers == 0 {
		return v, nil
	}
	digest, err := a.Store.SummarizeLedger(ctx, c.ID, later(req.Since, now.Add(-maxSummary)), now)
	if err != nil {
		return View{}, err
	}
	v.Summary = &digest
	return v, nil
}

// longestDigest bounds the time that one digest is about.
const maxSummary = 7 * 24 * time.Hour

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// RefreshRequest asks for one refresh.
type RefreshRequest struct {
	ConnectionID string            `json:"connection_id"`
	App          string            `json:"app,omitempty"` // as the workflow knows it; a hint
	Generation   int64             `json:"generation"`    // the highest that the workflow has seen
	Trigger      perennial.Trigger `json:"trigger"`
	// Once: answer the first outcome instead of retrying inside the activity,
	// because somebody waits for it.
	Once bool `json:"once,omitempty"`
}

// RefreshResult is what became of it.
type RefreshResult struct {
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	HTTPStatus int               `json:"http_status,omitempty"`
	Recovered  bool              `json:"recovered,omitempty"`
	View       View              `json:"view"`
	// Again: worth another try within a minute, which the Refresh activity makes.
	Again bool `json:"again,omitempty"`
	// Unsaved is the one thing of a token that ever enters a workflow: the
	// sealed set of a reply that could not be stored yet. PersistSealed takes it.
	Unsaved *store.SaveRequest `json:"unsaved,omitempty"`
}

// Refresh runs the engine once. A failure that is worth another try within a
// minute is a retryable error with that delay, named by its outcome; anything
// else is a result. The engine's row fences it: running it twice at once is
// safe.
func (a *Activities) Refresh(ctx context.Context, req RefreshRequest) (RefreshResult, error) {
	out, res, err := a.refresh(ctx, req)
	if err == nil && out.Again && !req.Once {
		wait := res.RetryAt.Sub(res.Now)
		return RefreshResult{}, temporal.NewApplicationErrorWithOptions(
			fmt.Sprintf("%s %s: generation %d stays, next try in %s", out.Outcome, out.Code, out.View.Generation, wait.Round(time.Second)),
			string(out.Outcome),
			temporal.ApplicationErrorOptions{NextRetryDelay: max(wait, time.Second), Category: temporal.ApplicationErrorCategoryBenign},
		)
	}
	out.Again = false
	if err == nil && out.Unsaved != nil {
		// Also as a message: the result may be refused, because a process that was
		// stopped for a while began when its time was over already.
		keep(ctx, a.Journal, a.Engine, res.Connection, *out.Unsaved)
	}
	return out, err
}

// RefreshLocally is Refresh as a local activity: the first try of nearly every
// refresh, and the last of most. It retries nothing. Its result is durable only
// with the workflow task that it runs in, so a token set that could not be stored
// does not stand in it: the workflow gets it as a message of its own, and the
// result says so with [refresh.CodeUnsaved].
func (a *Activities) RefreshLocally(ctx context.Context, req RefreshRequest) (RefreshResult, error) {
	out, res, err := a.refresh(ctx, req)
	if err == nil && res.Unsaved != nil {
		out.Unsaved = nil
		keep(ctx, a.Journal, a.Engine, res.Connection, *res.Unsaved)
	}
	return out, err
}

func (a *Activities) refresh(ctx context.Context, req RefreshRequest) (out RefreshResult, res refresh.Result, err error) {
	res, err = a.Engine.Refresh(ctx, refresh.Request{
		ConnectionID: req.ConnectionID,
		App:          req.App,
		Generation:   req.Generation,
		Floor:        req.Generation, // the workflow's own state
		Trigger:      req.Trigger,
		RunID:        activity.GetInfo(ctx).WorkflowExecution.RunID,
	})
	if err != nil {
		return out, res, err
	}
	if res.Outcome == perennial.OutcomeNotFound {
		return RefreshResult{Outcome: res.Outcome, View: View{Gone: true}}, res, nil
	}
	out = RefreshResult{Outcome: res.Outcome, Code: res.Code, HTTPStatus: res.HTTPStatus, Recovered: res.Recovered,
		View: a.view(res.Connection, res.Now), Unsaved: res.Unsaved}
	out.Again = res.Unsaved == nil && retried[res.Outcome] && res.RetryAt.Sub(res.Now) <= shortWait && res.Connection.Status == perennial.StatusActive
	return out, res, nil
}

// Keeper stores a token set that an earlier refresh could not.
type UnsavedSaver interface {
	Persist(ctx context.Context, req store.SaveRequest) (refresh.Result, error)
}

// keep brings an unsaved token set to where it is safe: the connection's workflow,
// or the store. It is the only copy where there is no spool, so nothing but one of
// them ends the trying.
func keep(ctx context.Context, journal Journal, keeper UnsavedSaver, c perennial.Connection, unsaved store.SaveRequest) {
	ctx = context.WithoutCancel(ctx)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		try, cancel := context.WithTimeout(ctx, keepTimeout)
		err := journal.Unsaved(try, c, unsaved)
		if err != nil {
			_, err = keeper.Persist(try, unsaved)
		}
		cancel()
		if err == nil {
			return
		}
		activity.GetLogger(ctx).Error("a token set is in memory only: neither the workflow nor the store takes it", "connection_id", c.ID, "error", err)
		time.Sleep(wait)
	}
}

// keepTimeout bounds one try to bring an unsaved token set to safety.
const keepTimeout = 10 * time.Second

// The types of the errors that end the retries of PersistSealed.
const (
	// ErrNotOurs: the set can never be stored. The workflow drops it.
	ErrNotOurs = "not_ours"
	// ErrSetAside: the set cannot be stored now. The workflow keeps it.
	ErrSetAside = "set_aside"
)

// How often PersistSealed is tried where the database answers, and the set cannot be
// stored: an hour long for one that other workers may open, for seven minutes where the
// row is missing. The retry policy waits 30 s at most.
const (
	sealedTries  = 120
	missingTries = 20
)

// PersistSealed stores the token set that a Refresh could not. Its retries have no end
// while the database cannot be asked: it comes back. Any other failure ends them at
// once, or after a while, with an error of type [ErrNotOurs] or [ErrSetAside].
func (a *Activities) PersistSealed(ctx context.Context, req store.SaveRequest) (RefreshResult, error) {
	res, err := a.Engine.Persist(ctx, req)
	if err == nil {
		return RefreshResult{Outcome: res.Outcome, Recovered: res.Recovered, View: a.view(res.Connection, res.Now)}, nil
	}
	tries := int(activity.GetInfo(ctx).Attempt)
	switch code := perennial.CodeOf(err); {
	case code == perennial.CodeInvalid:
		err = temporal.NewNonRetryableApplicationError(err.Error(), ErrNotOurs, nil)
	case errors.Is(err, refresh.ErrSetAside),
		code == perennial.CodeSealed && tries >= sealedTries,
		code == perennial.CodeNotFound && tries >= missingTries:
		err = temporal.NewNonRetryableApplicationError(err.Error(), ErrSetAside, nil)
	}
	return RefreshResult{}, err
}

// retried are the outcomes that the activity tries again by itself.
var retried = map[perennial.Outcome]bool{
	perennial.OutcomeBusy:        true,
	perennial.OutcomeRevoked:     true, // once more, to confirm
	perennial.OutcomeRateLimited: true,
	perennial.OutcomeUnavailable: true,
	perennial.OutcomeUnknown:     true,
	perennial.OutcomeRejected:    true,
}
