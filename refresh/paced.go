package refresh

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/store"
)

// pacedLate is how late a connection may be before its own workflow, if it wakes,
// refreshes it instead of leaving it to the pacers.
const pacedLate = time.Second

// OwnedByPacer reports whether pacers refresh this connection of a pooled app: it has
// worked and is healthy, nothing about it is in doubt, and it is not late. Otherwise its
// own workflow refreshes it.
func OwnedByPacer(c perennial.Connection, now time.Time) bool {
	return c.Status == perennial.StatusActive && c.Health == perennial.HealthHealthy && c.FailureCount == 0 && c.Proven() &&
		c.AmbiguousSince.IsZero() && c.SuspectSince.IsZero() && c.ConfirmAt.IsZero() && !c.NextAttemptAt.After(now) &&
		(c.Open.IsZero() || c.Open.Alive(now)) && !timing.ImplausibleDue(c, now) && c.NextRefreshAt.After(now.Add(-pacedLate))
}

// SummaryAt returns when the workflow of a connection that pacers refresh next writes
// its summary: once a day, at its own time of day.
func SummaryAt(id string, now time.Time) time.Time {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash never fails
	at := now.Truncate(24 * time.Hour).Add(time.Duration(h.Sum64() % uint64(24*time.Hour)))
	if !at.After(now) {
		at = at.Add(24 * time.Hour)
	}
	return at
}

// RefreshClaimed presents the refresh token of a connection that the caller has claimed
// with [store.Store.ClaimDue], not before slot (zero: at once). began is when the
// caller asked for the claim. It returns what [Engine.Refresh] returns.
func (e *Engine) RefreshClaimed(ctx context.Context, claim store.Claim, began, slot time.Time, runID string) (Result, error) {
	c := claim.Connection
	seam.At(seam.BeforeClaim, c.ID) // a fault that stops one connection stops it here: the claim was for many
	a := e.newAttempt(claimedRequest(c, runID), claim, began)
	a.gate = store.Admission{Admitted: true, SlotAt: slot}
	a.app, a.appErr = e.Apps.App(c.App)
	if a.appErr == nil {
		a.app, a.appErr = a.app.At(c.Host)
	}
	code, err := codeUnbound, e.Ready()
	if err == nil {
		code, err = codeSpooled, e.storeUnsavedOf(ctx, c.ID, c.Generation)
	}
	if err == nil { // a mark that was written just now comes after the claim, and does not stop it
		var holds bool
		if holds, err = e.hasUnsaved(c.ID, c.Generation); err == nil && holds {
			err = errStillUnsaved
		}
	}
	if err != nil {
		a.log.Error("claimed, and not presented", "error", err)
		a.gaveUp = true
		return a.close(ctx, provider.Reply{Outcome: perennial.OutcomeThrottled, Code: code})
	}
	return e.present(ctx, a)
}

// claimedRequest returns the request that a claim in bulk stands for.
func claimedRequest(c perennial.Connection, runID string) Request {
	return Request{ConnectionID: c.ID, Generation: c.Generation, Trigger: c.Open.Trigger, RunID: runID, App: c.App}
}

const (
	// codeSpooled: the connection's newest tokens are in the spool, or the spool does not
	// work.
	codeSpooled = "spool"
	// codeUnbound: database and Temporal do not belong together.
	codeUnbound = "unbound"
)
