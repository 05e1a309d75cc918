// Package activities holds Perennial's Temporal activities. Each is thin: it calls one
// package below and turns the result into what a workflow's history may hold. No token,
// secret or provider body passes through here.
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
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	// SummarizeLedger sums up a connection's ledger between two times.
	SummarizeLedger(ctx context.Context, id string, from, to time.Time) (store.LedgerSummary, error)
	// Absence says why a row may be missing, and in which database it is.
	Absence(ctx context.Context, id string) (a store.Absence, missing bool, err error)
}

// Activities holds the dependencies of the activities. Register a value with any
// worker; workflows refer to the methods of a nil *Activities. Safe for concurrent use.
type Activities struct {
	Engine  Engine
	Store   Store
	Apps    refresh.Apps // for the provider's title in texts for people
	Journal Journal
	// Attributes may be nil: then all search attributes count as registered.
	Attributes Attributes
	Binding    Binding   // nil: every database is the right one
	Revisions  Revisions // nil: no run gets a revision from here
	RowMissing func()    // counts the looks for a row that is missing; may be nil
}

// Journal passes a sealed token set that could not be stored to the connection's
// workflow, which holds it until somebody has stored it: connect.Temporal in
// production. It returns once the set is durable there.
type Journal interface {
	Unsaved(ctx context.Context, c perennial.Connection, req store.SaveRequest) error
}

// New returns the activities.
func New(engine Engine, rows Store, apps refresh.Apps, journal Journal) *Activities {
	return &Activities{Engine: engine, Store: rows, Apps: apps, Journal: journal}
}

// shortWait is the longest wait that becomes an activity retry. Ops see it as a pending
// activity with its cause and next try. Longer waits are workflow timers, because a
// pending activity would bar continue-as-new. Throttled connections also wait on a
// timer: nothing failed, and a release can cancel a timer cheaply.
const shortWait = time.Minute

// LoadRequest asks for one row.
type LoadRequest struct {
	ConnectionID string `json:"connection_id"`
	// Since is the end of the period that the last summary covered, by the database's
	// clock. Zero: the workflow has no summary yet.
	Since time.Time `json:"since,omitzero"`
	Shown Shown     `json:"shown,omitzero"`
	Known *Known    `json:"known,omitempty"` // for the view of a missing row
}

// Load reads the connection's row. For a pooled app it also sums up what happened since
// the workflow last read it. A missing row is a View with Gone or RowMissing set, not an
// error.
func (a *Activities) Load(ctx context.Context, req LoadRequest) (View, error) {
	v, err := a.load(ctx, req)
	if err != nil {
		return View{}, err
	}
	v.Revision = a.revision(ctx, v.MoveTo)
	return v, nil
}

func (a *Activities) load(ctx context.Context, req LoadRequest) (View, error) {
	c, now, err := a.Store.Get(ctx, perennial.WorkerAccess(), req.ConnectionID)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		v, err := a.absent(ctx, req.ConnectionID, req.Known, req.Shown)
		if v.RowMissing {
			v.MoveTo = a.moveTo(ctx)
		}
		return v, err
	}
	if err != nil {
		return View{}, fmt.Errorf("read connection %s: %w", req.ConnectionID, err)
	}
	v := a.view(c, now)
	v.Upsert, v.Missing = a.upsert(ctx, req.Shown, v), a.missing(ctx, req.Shown)
	v.SlotGranted = activity.GetInfo(ctx).IsLocalActivity && !c.QueuedAt.IsZero() && v.Trigger != "" && v.Wait == 0
	v.MoveTo = a.moveTo(ctx)
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

// moveTo returns the task queue to which the workflow should move. Only the local Load
// says so, in the program that runs the workflow task.
func (a *Activities) moveTo(ctx context.Context) string {
	if a.Binding == nil || !activity.GetInfo(ctx).IsLocalActivity {
		return ""
	}
	return a.Binding.MovedTo()
}

// maxSummary bounds the period that one summary covers.
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
	App          string            `json:"app,omitempty"` // a hint: the app as the workflow knows it
	Generation   int64             `json:"generation"`    // the highest that the workflow has seen
	Trigger      perennial.Trigger `json:"trigger"`
	// Once: return the first outcome instead of retrying inside the activity, because a
	// caller waits for it.
	Once  bool   `json:"once,omitempty"`
	Shown Shown  `json:"shown,omitzero"`
	Known *Known `json:"known,omitempty"` // for the view of a missing row
}

// RefreshResult is the result of a refresh.
type RefreshResult struct {
	Outcome    perennial.Outcome `json:"outcome"`
	Code       string            `json:"code,omitempty"`
	HTTPStatus int               `json:"http_status,omitempty"`
	Recovered  bool              `json:"recovered,omitempty"`
	View       View              `json:"view"`
	// Reported is the request's trigger if a product's report caused it, else empty.
	Reported perennial.Trigger `json:"reported,omitempty"`
	// Again: another try within a minute is worth it. The Refresh activity makes it.
	Again bool `json:"again,omitempty"`
	// RetryAt is set if a caller's request came too soon: when the next one may go, see
	// [perennial.Floor]. No other refresh waits for it.
	RetryAt time.Time `json:"retry_at,omitzero"`
	// Unsaved is the only part of a token that ever enters a workflow: the sealed set
	// of a reply that could not be stored yet. PersistSealed stores it.
	Unsaved *store.SaveRequest `json:"unsaved,omitempty"`
}

// Refresh runs the engine once. If another try within a minute is worth it, it returns
// a retryable error with that delay, whose type is the outcome. Anything else is a
// result. The row fences the engine, so two runs at once are safe.
func (a *Activities) Refresh(ctx context.Context, req RefreshRequest) (RefreshResult, error) {
	out, res, err := a.refresh(ctx, req)
	if err == nil && (out.Again || backsOff(res)) && !req.Once {
		wait := res.RetryAt.Sub(res.Now)
		return RefreshResult{}, temporal.NewApplicationErrorWithOptions(
			fmt.Sprintf("%s %s: generation %d stays, next try in %s", out.Outcome, out.Code, out.View.Generation, wait.Round(time.Second)),
			string(out.Outcome),
			temporal.ApplicationErrorOptions{NextRetryDelay: max(wait, time.Second), Category: temporal.ApplicationErrorCategoryBenign},
		)
	}
	out.Again = false
	if err == nil && out.Unsaved != nil {
		// Send it as a signal too: Temporal may reject the result if this process was
		// suspended and the activity's time had passed before it started.
		keep(ctx, a.Journal, a.Engine, res.Connection, *out.Unsaved)
	}
	return out, err
}

// backsOff reports whether the row itself demands a short wait, because a try just before
// this one failed. The activity then waits in its own retries, where operators see it as
// pending with its cause.
func backsOff(res refresh.Result) bool {
	return res.Outcome == perennial.OutcomeThrottled && res.Code == string(store.VerdictWait) && soon(res)
}

// soon reports whether another try within a minute is worth it.
func soon(res refresh.Result) bool {
	return res.RetryAt.Sub(res.Now) <= shortWait && res.Connection.Status == perennial.StatusActive
}

// RefreshLocally is Refresh as a local activity. It makes the first try of nearly every
// refresh, which is mostly the last. It retries nothing. Its result is durable only
// with the workflow task that it runs in, so it never holds an unsaved token set: the
// workflow receives that as a signal, and the result says so with
// [refresh.CodeUnsaved].
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
		Floor:        req.Generation, // from the workflow's own state
		Trigger:      req.Trigger,
		RunID:        activity.GetInfo(ctx).WorkflowExecution.RunID,
	})
	if err != nil {
		return out, res, err
	}
	if res.Outcome == perennial.OutcomeNotFound {
		out.Outcome = res.Outcome
		out.View, err = a.absent(ctx, req.ConnectionID, req.Known, req.Shown)
		return out, res, err
	}
	out = RefreshResult{Outcome: res.Outcome, Code: res.Code, HTTPStatus: res.HTTPStatus, Recovered: res.Recovered,
		View: a.view(res.Connection, res.Now), Unsaved: res.Unsaved}
	if req.Trigger.Reported() {
		out.Reported = req.Trigger
	}
	out.View.Upsert, out.View.Missing = a.upsert(ctx, req.Shown, out.View), a.missing(ctx, req.Shown)
	out.View.Revision = a.revision(ctx, "")
	if res.Code == string(store.VerdictTooSoon) {
		out.RetryAt = res.RetryAt
	}
	out.Again = res.Unsaved == nil && retried[res.Outcome] && soon(res)
	return out, res, nil
}

// UnsavedSaver stores a token set that an earlier refresh could not store.
type UnsavedSaver interface {
	Persist(ctx context.Context, req store.SaveRequest) (refresh.Result, error)
}

// keep brings an unsaved token set to safety: to the connection's workflow, or to the
// store. Without a spool it is the only copy, so keep tries until one of them has it.
func keep(ctx context.Context, journal Journal, keeper UnsavedSaver, c perennial.Connection, unsaved store.SaveRequest) {
	ctx = context.WithoutCancel(ctx)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := within(ctx, func(try context.Context) error { return journal.Unsaved(try, c, unsaved) })
		if err != nil {
			err = within(ctx, func(try context.Context) error { _, err := keeper.Persist(try, unsaved); return err })
		}
		if err == nil {
			return
		}
		activity.GetLogger(ctx).Error("a token set is in memory only: neither the workflow nor the store takes it", "connection_id", c.ID, "error", err)
		time.Sleep(wait)
	}
}

// keepTimeout bounds one try to bring an unsaved token set to safety. The store has its
// own: a Temporal server or a payload codec that hangs must not use up its time.
const keepTimeout = 10 * time.Second

func within(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	return try(ctx)
}

// The types of the errors that end the retries of PersistSealed.
const (
	// ErrNotOurs: the set can never be stored. The workflow drops it.
	ErrNotOurs = "not_ours"
	// ErrSetAside: the set cannot be stored now. The workflow sets it aside.
	ErrSetAside = "set_aside"
)

// How often PersistSealed tries to store a set that an answering database does not
// take: for an hour if other workers may open the set, for seven minutes if the row is
// missing. The retry policy waits 30 s at most.
const (
	sealedTries  = 120
	missingTries = 20
)

// PersistSealed stores the token set that a Refresh could not store. While the database
// does not answer, its retries have no limit: the database comes back. Any other
// failure ends them, at once or after a while, with an error of type [ErrNotOurs] or
// [ErrSetAside].
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

// retried lists the outcomes after which the activity tries again by itself.
var retried = map[perennial.Outcome]bool{
	perennial.OutcomeBusy:        true,
	perennial.OutcomeRevoked:     true, // once more, to confirm
	perennial.OutcomeRateLimited: true,
	perennial.OutcomeUnavailable: true,
	perennial.OutcomeUnknown:     true,
	perennial.OutcomeRejected:    true,
}
