package activities

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial"
	"go.temporal.io/sdk/activity"
)

// SweepStore finds the rows that nobody looks after; store.Store in production.
type SweepStore interface {
	Overdue(ctx context.Context, grace time.Duration, limit int) ([]perennial.Connection, error)
	InDoubt(ctx context.Context, grace time.Duration, after string, limit int) ([]perennial.Connection, error)
	Warn(ctx context.Context, limit int) (int, error)
	Prune(ctx context.Context, keep time.Duration, limit int) (int64, error)
}

// Teller signals a connection's workflow, starting it where it does not run;
// connect.Temporal in production.
type Signaller interface {
	Signal(ctx context.Context, c perennial.Connection, signal string) error
}

// Sweeper holds the dependencies of the Sweep activity. Safe for concurrent use.
type Sweeper struct {
	Store     SweepStore
	Workflows Signaller
	// StartPacers starts the pacers that do not run; nil: no app is pooled.
	StartPacers func(context.Context) error
	// LetGo starts what wakes the waiting connections of a circuit that has closed;
	// nil: they wake by themselves.
	StartRelease func(context.Context) error
	// Dispatch has undelivered events delivered and returns how many deliveries it
	// started; nil: nobody is told of events.
	Dispatch func(context.Context) (int, error)
}

// SweepRequest asks for one pass over the connections.
type SweepRequest struct {
	Grace time.Duration `json:"grace"` // what a workflow is given to look after a due row by itself
	// Full: every active row is read, whatever it says of itself.
	Full      bool          `json:"full,omitempty"`
	Retention time.Duration `json:"retention"` // of the ledger and of delivered events
}

// SweepResult is what a pass found.
type SweepResult struct {
	Overdue  int   `json:"overdue"`
	Doubtful int   `json:"doubtful,omitempty"`
	Nudged   int   `json:"nudged"`
	Warned   int   `json:"warned,omitempty"`
	Pruned   int64 `json:"pruned,omitempty"`
	// Delivering counts the deliveries of events that were started.
	Delivering int `json:"delivering,omitempty"`
	// NotTold counts the workflows that could not be signalled; the next pass
	// finds them again.
	NotSignalled int `json:"not_told,omitempty"`
}

const (
	// nudgeGap spaces the nudges of one pass: what was asleep together does not
	// wake together.
	nudgeGap = 20 * time.Millisecond
	// sweepLimit bounds the connections of one pass; the next finds the rest.
	sweepLimit = 2000
	// sweepPage is how many rows are read at once.
	sweepPage = 500
	// pruneBatch is how many lines one statement deletes, and pruneFor how long a
	// pass goes on with it.
	pruneBatch = 5000
	pruneFor   = 30 * time.Second
)

// nudge is the signal that makes a workflow read its row. It is named here
// because the workflows name the activities.
const nudge = "nudge"

// Sweep finds the connections that nobody looks after and nudges their
// workflows, starts pacers that do not run, warns of ends that come near, has
// undelivered events delivered, and deletes what is past its retention. It heartbeats; run twice at once it does no harm.
func (s *Sweeper) Sweep(ctx context.Context, req SweepRequest) (SweepResult, error) {
	var out SweepResult
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
	if req.Full { // it reads every row
		out.Warned, warnErr = s.Store.Warn(ctx, sweepLimit)
	}
	if s.Dispatch != nil {
		out.Delivering, dispatchErr = s.Dispatch(ctx)
	}
	return out, errors.Join(warnErr, s.prune(ctx, req, &out), paceErr, letGoErr, dispatchErr)
}

// prune deletes what is past its retention, batch by batch: a large fleet writes
// thousands of lines a second.
func (s *Sweeper) prune(ctx context.Context, req SweepRequest, out *SweepResult) error {
	for over := time.Now().Add(pruneFor); time.Now().Before(over); {
		n, err := s.Store.Prune(ctx, req.Retention, pruneBatch)
		out.Pruned += n
		if err != nil || n < pruneBatch {
			return err
		}
		activity.RecordHeartbeat(ctx, out.Nudged)
	}
	return nil
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
