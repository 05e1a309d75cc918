package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/activity"
)

// SweepStore finds the rows whose workflow missed a due time; store.Store in
// production.
type SweepStore interface {
	Overdue(ctx context.Context, grace time.Duration, limit int) ([]perennial.Connection, error)
	InDoubt(ctx context.Context, grace time.Duration, after string, limit int) ([]perennial.Connection, error)
	Warn(ctx context.Context, limit int) (int, error)
	// EndQuietHolds ends the refusal holds of apps that have been well for an hour.
	EndQuietHolds(ctx context.Context) ([]string, error)
}

// Signaller signals a connection's workflow and starts it if it is not running;
// connect.Temporal in production.
type Signaller interface {
	Signal(ctx context.Context, c perennial.Connection, signal string) error
}

// Sweeper holds the dependencies of the Sweep activity. Safe for concurrent use.
type Sweeper struct {
	Store     SweepStore
	Workflows Signaller
	// Check looks whether database and Temporal belong together, and raises their number.
	// An error ends the pass. Nil: they do.
	Check func(context.Context) error
	// StartPacers starts the pacers that are not running. Nil: no app is pooled.
	StartPacers func(context.Context) error
	// StartRelease looks after the apps in trouble: it starts the releases and calls the
	// canaries. Nil: their connections wake by themselves.
	StartRelease func(context.Context) error
	// Dispatch starts the deliveries of new events and returns how many it started.
	// Nil: events are not delivered.
	Dispatch func(context.Context) (int, error)
	// Prune has a function for each package that keeps rows for a time. It deletes at
	// most limit rows older than keep and returns how many. It counts as done if that is
	// below limit.
	Prune []func(ctx context.Context, keep time.Duration, limit int) (int64, error)
}

// SweepRequest asks for one pass over the connections.
type SweepRequest struct {
	Grace time.Duration `json:"grace"` // how long after its due time a row is left to its workflow
	// Full: read every active row, whatever it says.
	Full      bool          `json:"full,omitempty"`
	Retention time.Duration `json:"retention"` // of the ledger and of delivered events
}

// SweepResult counts what a pass found and did.
type SweepResult struct {
	Overdue  int   `json:"overdue"`
	Doubtful int   `json:"doubtful,omitempty"`
	Nudged   int   `json:"nudged"`
	Warned   int   `json:"warned,omitempty"`
	Pruned   int64 `json:"pruned,omitempty"`
	// HoldsEnded counts the apps whose refusal hold ended by itself.
	HoldsEnded int `json:"holds_ended,omitempty"`
	// Delivering counts the deliveries that the pass started.
	Delivering int `json:"delivering,omitempty"`
	// NotSignalled counts the workflows whose signal failed; the next pass finds them
	// again.
	NotSignalled int `json:"not_told,omitempty"`
}

const (
	// nudgeGap spaces the nudges of one pass, so that workflows that overslept together
	// do not wake together.
	nudgeGap = 20 * time.Millisecond
	// sweepLimit bounds the connections of one pass; the next pass finds the rest.
	sweepLimit = 2000
	// sweepPage is how many rows one query reads.
	sweepPage = 500
	// pruneBatch is how many lines one statement deletes, and pruneFor bounds the time
	// that a pass spends on it.
	pruneBatch = 5000
	pruneFor   = 30 * time.Second
)

// nudge is the signal that makes a workflow read its row. It is defined here because
// package workflows imports this package.
const nudge = "nudge"

// Sweep nudges the workflows of connections that missed a due time, starts pacers that
// are not running, warns of ends that come near, ends the holds of apps that are well
// again, starts the deliveries of new events, and deletes rows past their retention. It
// heartbeats; two passes at once do no harm.
func (s *Sweeper) Sweep(ctx context.Context, req SweepRequest) (SweepResult, error) {
	var out SweepResult
	if s.Check != nil {
		if err := s.Check(ctx); err != nil {
			return out, fmt.Errorf("the sweep does nothing: %w", err)
		}
	}
	told := map[string]bool{}
	overdue, err := s.Store.Overdue(ctx, req.Grace, sweepLimit)
	if err != nil {
		return out, err
	}
	out.Overdue = len(overdue)
	if err := s.nudge(ctx, overdue, told, &out); err != nil {
		return out, err
	}
	if req.Full {
		if err := s.lookAtAll(ctx, req, told, &out); err != nil {
			return out, err
		}
	}
	var warnErr, paceErr, letGoErr, dispatchErr error
	if s.StartPacers != nil {
		paceErr = s.StartPacers(ctx)
	}
	if s.StartRelease != nil {
		letGoErr = s.StartRelease(ctx)
	}
	if req.Full { // these read many rows
		var ended []string
		var holdErr error
		out.Warned, warnErr = s.Store.Warn(ctx, sweepLimit)
		ended, holdErr = s.Store.EndQuietHolds(ctx)
		out.HoldsEnded, warnErr = len(ended), errors.Join(warnErr, holdErr)
	}
	if s.Dispatch != nil {
		out.Delivering, dispatchErr = s.Dispatch(ctx)
	}
	return out, errors.Join(warnErr, s.prune(ctx, req, &out), paceErr, letGoErr, dispatchErr)
}

// prune deletes what is past its retention, in batches: a large fleet writes thousands
// of lines a second.
func (s *Sweeper) prune(ctx context.Context, req SweepRequest, out *SweepResult) error {
	over := time.Now().Add(pruneFor)
	var failed []error
	for _, prune := range s.Prune {
		for time.Now().Before(over) {
			n, err := prune(ctx, req.Retention, pruneBatch)
			out.Pruned += n
			if err != nil {
				failed = append(failed, err)
			}
			if err != nil || n < pruneBatch {
				break
			}
			activity.RecordHeartbeat(ctx, out.Nudged)
		}
	}
	return errors.Join(failed...)
}

// lookAtAll reads the doubtful rows page by page.
func (s *Sweeper) lookAtAll(ctx context.Context, req SweepRequest, told map[string]bool, out *SweepResult) error {
	for after := ""; out.Doubtful < sweepLimit; {
		page, err := s.Store.InDoubt(ctx, req.Grace, after, sweepPage)
		if err != nil || len(page) == 0 {
			return err
		}
		out.Doubtful += len(page)
		if err := s.nudge(ctx, page, told, out); err != nil {
			return err
		}
		after = page[len(page)-1].ID
	}
	return nil
}

func (s *Sweeper) nudge(ctx context.Context, cs []perennial.Connection, told map[string]bool, out *SweepResult) error {
	tick := time.NewTicker(nudgeGap)
	defer tick.Stop()
	for _, c := range cs {
		if told[c.ID] {
			continue
		}
		told[c.ID] = true
		if err := s.Workflows.Signal(ctx, c, nudge); err != nil {
			out.NotSignalled++
			activity.GetLogger(ctx).Warn("workflow not nudged; the next sweep tries again", "connection_id", c.ID, "error", err)
		} else {
			out.Nudged++
		}
		activity.RecordHeartbeat(ctx, out.Nudged)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
