package refresh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// FallbackEngine is the part of an [Engine] that a [Fallback] uses.
type FallbackEngine interface {
	Refresh(ctx context.Context, req Request) (Result, error)
	Persist(ctx context.Context, req store.SaveRequest) (Result, error)
	SaveLater(ctx context.Context, req store.SaveRequest) error
}

// FallbackRows is the part of the store that a [Fallback] uses; store.Store in production.
type FallbackRows interface {
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	AttemptLost(ctx context.Context, c perennial.Connection) (bool, error)
}

// Fallback refreshes connections beside Temporal: in this process, because their
// workflows do not. The row still fences the attempt, so no harm comes if a workflow or
// another process refreshes at the same time. All fields but Sets are required.
type Fallback struct {
	Engine FallbackEngine
	Rows   FallbackRows
	Apps   Apps
	// Sets returns the token sets in the connection's workflow that a refresh could not
	// store. An error means that Temporal did not answer for it. Nil: it never answers.
	Sets func(ctx context.Context, id string) ([]store.SaveRequest, error)
}

// ErrLeftToWorkflow is the cause if only the connection's workflow may decide what comes
// next.
var ErrLeftToWorkflow = errors.New("left to its workflow")

// Refresh refreshes a connection, as read before, if that is allowed beside Temporal:
//
//   - A refusal that is not confirmed yet stays with the workflow, because the
//     confirmation may end the connection.
//   - An attempt that was closed brought no tokens: the claim decides by the replay class.
//   - An attempt that was never closed may have brought tokens that nobody but the
//     workflow has. Refresh first stores those that Temporal has of it. If Temporal does
//     not answer, the connection waits; see [waitsForSets].
//
// No workflow may hold a token set that the store does not take. Refresh then calls save
// with a function that keeps the set in this process and its spool until it is stored.
// Run that function before the process ends.
func (f *Fallback) Refresh(ctx context.Context, c perennial.Connection, save func(func())) (Result, error) {
	row, now, err := f.Rows.Get(ctx, perennial.WorkerAccess(), c.ID)
	if err != nil {
		return Result{}, err
	}
	if row.Generation <= c.Generation && !row.Open.Alive(now) {
		if row, err = f.judge(ctx, row, now); err != nil {
			return Result{}, err
		}
	}
	switch {
	case row.Generation > c.Generation:
		return Result{Outcome: perennial.OutcomeAlreadyFresh, Connection: row, Now: now}, nil
	case row.Open.Alive(now):
		return busy(row, now), nil
	}
	res, err := f.Engine.Refresh(ctx, besideTemporal(row))
	if unsaved := res.Unsaved; unsaved != nil {
		save(func() { _ = f.Engine.SaveLater(context.WithoutCancel(ctx), *unsaved) }) // returns once the set is safe
	}
	return res, err
}

// busy returns the result for a connection that somebody else presents.
func busy(row perennial.Connection, now time.Time) Result {
	return Result{Outcome: perennial.OutcomeBusy, Connection: row, Now: now, RetryAt: row.Open.Deadline}
}

// besideTemporal asks for a refresh of a row that [Fallback.judge] allows as it is.
func besideTemporal(row perennial.Connection) Request {
	return Request{ConnectionID: row.ID, App: row.App, Generation: row.Generation, Trigger: perennial.TriggerFallback, Judged: row.UpdatedAt}
}

// judge returns an error if the row's refresh token must not be presented beside Temporal
// now. Otherwise it returns the row, read again if it has stored a token set.
func (f *Fallback) judge(ctx context.Context, row perennial.Connection, now time.Time) (perennial.Connection, error) {
	if row.Suspect() {
		return row, left(row, "a refusal is to be confirmed")
	}
	lost, err := f.Rows.AttemptLost(ctx, row)
	if err != nil || !lost && !row.Behind(row.GenerationFloor) {
		return row, err
	}
	app, err := f.Apps.App(row.App)
	if err == nil {
		app, err = app.At(row.Host)
	}
	if err != nil {
		return row, err
	}
	if harmless(row, app.Provider) {
		return row, nil
	}
	if f.Sets != nil {
		if sets, err := f.Sets(ctx, row.ID); err == nil {
			return f.store(ctx, row, sets)
		}
	}
	until := waitsForSets(row, app.Provider, now)
	switch {
	case until.IsZero():
		return row, left(row, "an attempt was never closed, and its access token has no known end")
	case until.After(now):
		return row, left(row, "an attempt was never closed; without Temporal's answer nothing is presented before "+until.UTC().Format(time.RFC3339))
	}
	return row, nil
}

// store stores the sets that a workflow holds, and reads the row again. Those that are not
// the connection's say nothing about it.
func (f *Fallback) store(ctx context.Context, row perennial.Connection, sets []store.SaveRequest) (perennial.Connection, error) {
	if len(sets) == 0 {
		return row, nil
	}
	for _, set := range sets {
		if _, err := f.Engine.Persist(ctx, set); err != nil && perennial.CodeOf(err) != perennial.CodeInvalid {
			return row, fmt.Errorf("%w: %w", left(row, "its workflow holds a token set that cannot be stored"), err)
		}
	}
	row, _, err := f.Rows.Get(ctx, perennial.WorkerAccess(), row.ID)
	return row, err
}

func left(row perennial.Connection, why string) error {
	return perennial.Errorf(perennial.CodeUnavailable, "connection %s: %s: %w", row.ID, why, ErrLeftToWorkflow)
}

// harmless reports whether presenting the row's refresh token again costs nothing, even
// if its open attempt brought tokens: the class allows it, or nothing was sent.
func harmless(row perennial.Connection, entry provider.Entry) bool {
	unsent := !row.Open.IsZero() && !row.Open.Sent && entry.ReplayClass == perennial.ReplayReuseRevokes && !row.Ambiguous()
	return entry.ReplayClass == perennial.ReplayReusable || unsent
}

// waitsForSets returns until when a connection whose attempt was never closed waits for
// the tokens that its workflow may hold: within a grace window to the middle of it, but
// never beyond the access token's end; otherwise to that end. Zero: for ever.
func waitsForSets(row perennial.Connection, entry provider.Entry, now time.Time) time.Time {
	since := firstSent(row)
	if middle := since.Add(entry.GraceWindow / 2); entry.At(since, now).ReplayClass == perennial.ReplayGrace &&
		(row.ExpiresAt.IsZero() || middle.Before(row.ExpiresAt)) {
		return middle
	}
	return row.ExpiresAt
}
