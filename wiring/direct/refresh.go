package direct

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

const (
	// probeTimeout is how long Temporal may take to answer a health check if there is
	// an engine to fall back on, probeTimeoutAlone if there is none.
	probeTimeout      = 2 * time.Second
	probeTimeoutAlone = 5 * time.Second
	// sickLasts is how long a backend with an engine does not ask a Temporal that did
	// not answer.
	sickLasts = 5 * time.Second
	// floorEnds: a floor that ends within it is waited for.
	floorEnds = 250 * time.Millisecond
	// lookEvery is how often to read the row while another process refreshes.
	lookEvery = 200 * time.Millisecond
)

// errSick is the cause if Temporal did not answer, or recently failed to.
var errSick = errors.New("Temporal does not answer")

// Refresh implements [client.Backend]. The connection's workflow does the refresh. If
// it does not answer, or has let the token become overdue, the engine does it, if there
// is one.
func (b *Backend) Refresh(ctx context.Context, id string, generation int64) error {
	c, now, err := b.Store.ForTokenRead(ctx, b.Access, id) // workflows know no tenants
	if err != nil {
		return err
	}
	return b.refresh(ctx, c, now, workflows.RefreshNow{IfGeneration: generation})
}

// Refused implements [client.Refuser]. It asks neither the workflow nor the provider about
// a token that has been replaced, nor while the row demands a wait: a report that is
// repeated costs a read.
func (b *Backend) Refused(ctx context.Context, id string, generation int64, why perennial.RefusalCause) error {
	if err := perennial.CheckRefusal(generation, why); err != nil {
		return err
	}
	c, now, err := b.Store.ForTokenRead(ctx, b.Access, id)
	if err != nil {
		return err
	}
	if why == perennial.RefusalTokenRefused {
		_ = b.Store.TouchUnauthorized(ctx, b.Access, id) // it counts as a 401; a failure costs only the note
	}
	if generation == 0 {
		generation = c.Generation
	}
	if c.Status == perennial.StatusActive && (generation < c.Generation || c.WaitsUntil(now).After(now)) {
		return nil // Load says what there is
	}
	return b.refresh(ctx, c, now, workflows.RefreshNow{IfGeneration: generation, Why: why})
}

// refresh has the connection refreshed, as read at now.
func (b *Backend) refresh(ctx context.Context, c perennial.Connection, now time.Time, req workflows.RefreshNow) error {
	id, generation := c.ID, req.IfGeneration
	if generation > c.Generation {
		return &perennial.GenerationAheadError{Connection: id, Generation: c.Generation}
	}
	if wait := b.floored(c, now).Sub(now); wait > 0 && (generation == 0 || generation == c.Generation) {
		if wait > floorEnds {
			return nil // Load says when; asking would only cost the workflow a look
		}
		select { // once the floor has ended, Load could not say why nothing was refreshed
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if b.Engine != nil && (generation == 0 || generation == c.Generation) {
		neglected, err := b.Store.IsNeglected(ctx, c, 2*b.Sweep)
		if err == nil && neglected {
			if err := b.refreshHere(ctx, id, c.Generation); !errors.Is(err, refresh.ErrLeftToWorkflow) {
				return err
			}
		}
	}
	err := b.ask(ctx, c, req)
	switch perennial.CodeOf(err) {
	case "", perennial.CodeReconnectRequired, perennial.CodePaused, perennial.CodeDisconnected, perennial.CodeInvalid, perennial.CodeGenerationAhead:
		return err // a definite answer
	}
	if b.Engine == nil {
		return err
	}
	return b.refreshHere(ctx, id, generation)
}

// ask asks the workflow. Meanwhile it checks whether Temporal answers at all, because
// Temporal's client would wait as long as it may.
func (b *Backend) ask(ctx context.Context, c perennial.Connection, req workflows.RefreshNow) error {
	probing := probeTimeoutAlone
	if b.Engine != nil {
		probing = probeTimeout
		if b.isSick() {
			return errSick
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.Answer)
		defer cancel()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		probe, done := context.WithTimeout(ctx, probing)
		defer done()
		if err := b.Workflows.Healthy(probe); err != nil && ctx.Err() == nil {
			b.sick.Store(time.Now().UnixNano())
			cancel(errSick)
		}
	}()
	_, err := connect.Refresh(ctx, b.Workflows, c, req)
	if err != nil && errors.Is(context.Cause(ctx), errSick) {
		return fmt.Errorf("ask workflow %s to refresh: %w", workflows.ID(c.ID), errSick)
	}
	return err
}

// isSick reports whether Temporal recently failed to answer.
func (b *Backend) isSick() bool { return time.Since(time.Unix(0, b.sick.Load())) < sickLasts }

// refreshHere refreshes in this process, see [refresh.Fallback], or waits for the process
// that does.
func (b *Backend) refreshHere(ctx context.Context, id string, generation int64) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		row, _, err := b.Store.Get(ctx, b.Access, id)
		switch {
		case err != nil:
			return err
		case row.Generation > generation:
			return nil
		case row.Generation < generation:
			return &perennial.GenerationAheadError{Connection: id, Generation: row.Generation}
		}
		if busy, err := b.present(ctx, row); err != nil || !busy {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the refresh of connection %s by another process: %w", id, ctx.Err())
		}
	}
}

func (b *Backend) fallback() *refresh.Fallback {
	return &refresh.Fallback{Engine: b.Engine, Rows: b.Store, Apps: b.Apps, Sets: b.sets}
}

// present asks the engine. busy says that another process is refreshing.
func (b *Backend) present(ctx context.Context, c perennial.Connection) (busy bool, err error) {
	res, err := b.fallback().Refresh(ctx, c, b.keeping.Go)
	switch {
	case err != nil:
		return false, err
	case res.Outcome == perennial.OutcomeBusy:
		return true, nil
	case res.Outcome == perennial.OutcomeRefreshed, res.Outcome == perennial.OutcomeAlreadyFresh, res.Code == string(store.VerdictTooSoon):
		return false, nil
	}
	return false, perennial.Errorf(perennial.CodeUnavailable, "connection %s was not refreshed: %s %s", c.ID, res.Outcome, res.Code)
}

// sets asks Temporal for the token sets in a connection's workflow.
func (b *Backend) sets(ctx context.Context, id string) ([]store.SaveRequest, error) {
	if b.isSick() {
		return nil, errSick
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return b.Workflows.Sets(ctx, id)
}
