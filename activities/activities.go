// Package activities holds Perennial's Temporal activities. Each is thin: it
// calls one of the rooms below and turns the answer into what may stand in a
// workflow's history. No token, secret or provider body passes through here.
package activities

import (
	"context"
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
	Refresh(ctx context.Context, req refresh.Request) (refresh.Result, error)
	// Persist stores a token set that an earlier Refresh could not.
	Persist(ctx context.Context, req store.SaveRequest) (refresh.Result, error)
}

// Store reads rows; store.Store in production.
type Store interface {
	// Get returns the row and the database's clock.
	Get(ctx context.Context, id string) (perennial.Connection, time.Time, error)
}

// Activities are the activities' dependencies. Register a value with a worker,
// or let a platform team's own worker do it; workflows refer to the methods of a
// nil *Activities. Safe for concurrent use.
type Activities struct {
	Engine Engine
	Store  Store
	Apps   refresh.Apps // for the provider's title in what people read
}

// New returns the activities.
func New(engine Engine, rows Store, apps refresh.Apps) *Activities {
	return &Activities{Engine: engine, Store: rows, Apps: apps}
}

// shortWait is the longest wait that is an activity retry, which ops see as a
// pending activity with its cause and next try. Longer ones are workflow
// timers: they must not bar continue-as-new.
const shortWait = time.Minute

// LoadRequest asks for one row.
type LoadRequest struct {
	ConnectionID string `json:"connection_id"`
}

// Load reads the connection's row. A missing row is a View with Gone set, not
// an error.
func (a *Activities) Load(ctx context.Context, req LoadRequest) (View, error) {
	c, now, err := a.Store.Get(ctx, req.ConnectionID)
	if perennial.CodeOf(err) == perennial.CodeNotFound {
		return View{Gone: true}, nil
	}
	if err != nil {
		return View{}, fmt.Errorf("read connection %s: %w", req.ConnectionID, err)
	}
	return a.view(c, now), nil
}

// RefreshRequest asks for one refresh.
type RefreshRequest struct {
	ConnectionID string            `json:"connection_id"`
	Generation   int64             `json:"generation"`
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
	// Unsaved is the one thing of a token that ever enters a workflow: the
	// sealed set of a reply that could not be stored yet. PersistSealed takes it.
	Unsaved *store.SaveRequest `json:"unsaved,omitempty"`
}

// Refresh runs the engine once. A failure that is worth another try within a
// minute is a retryable error with that delay, named by its outcome; anything
// else is a result. The engine's row fences it: running it twice at once is
// safe.
func (a *Activities) Refresh(ctx context.Context, req RefreshRequest) (RefreshResult, error) {
	res, err := a.Engine.Refresh(ctx, refresh.Request{
		ConnectionID: req.ConnectionID,
		Generation:   req.Generation,
		Trigger:      req.Trigger,
		RunID:        activity.GetInfo(ctx).WorkflowExecution.RunID,
	})
	if err != nil {
		return RefreshResult{}, err
	}
	if res.Outcome == perennial.OutcomeNotFound {
		return RefreshResult{Outcome: res.Outcome, View: View{Gone: true}}, nil
	}
	out := RefreshResult{Outcome: res.Outcome, Code: res.Code, HTTPStatus: res.HTTPStatus, Recovered: res.Recovered,
		View: a.view(res.Connection, res.Now), Unsaved: res.Unsaved}
	if res.Unsaved != nil {
		return out, nil
	}
	if wait := res.RetryAt.Sub(res.Now); !req.Once && retried[res.Outcome] && wait <= shortWait && res.Connection.Status == perennial.StatusActive {
		return RefreshResult{}, temporal.NewApplicationErrorWithOptions(
			fmt.Sprintf("%s %s: generation %d stays, next try in %s", res.Outcome, res.Code, res.Connection.Generation, wait.Round(time.Second)),
			string(res.Outcome),
			temporal.ApplicationErrorOptions{NextRetryDelay: max(wait, time.Second), Category: temporal.ApplicationErrorCategoryBenign},
		)
	}
	return out, nil
}

// PersistSealed stores the token set that a Refresh could not. Its retries have
// no end: the database comes back.
func (a *Activities) PersistSealed(ctx context.Context, req store.SaveRequest) (RefreshResult, error) {
	res, err := a.Engine.Persist(ctx, req)
	if err != nil {
		return RefreshResult{}, err
	}
	if res.Outcome == perennial.OutcomeNotFound {
		return RefreshResult{Outcome: res.Outcome, View: View{Gone: true}}, nil
	}
	return RefreshResult{Outcome: res.Outcome, Recovered: res.Recovered, View: a.view(res.Connection, res.Now)}, nil
}

// retried are the outcomes that the activity tries again by itself.
var retried = map[perennial.Outcome]bool{
	perennial.OutcomeBusy:        true,
	perennial.OutcomeHeld:        true,
	perennial.OutcomeRevoked:     true, // once more, to confirm
	perennial.OutcomeRateLimited: true,
	perennial.OutcomeUnavailable: true,
	perennial.OutcomeUnknown:     true,
	perennial.OutcomeRejected:    true,
}
