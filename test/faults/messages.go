package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
)

// hostileMessages sends workflows messages that they must not believe: signals that do not decode,
// another connection's and made-up token sets, updates with generations from nowhere, and
// a start with a made-up state. The connections are refreshed on time all the same, which
// the settling after the last fault checks.
func hostileMessages(r *round) error {
	ctx := context.Background()
	chosen := pick(r.r, r.steady(r.five()), 6)
	if len(chosen) < 2 {
		return nil
	}
	forged := store.SaveRequest{ID: chosen[0].id, AttemptID: "forged", Generation: 1, NewGeneration: math.MaxInt64 - 1, Digest: "forged",
		SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("forged"), RefreshTokenSealed: []byte("forged")}}
	bodies := []any{nil, "", "{", 7, []string{"a"}, map[string]any{}, json.RawMessage("null"), forged, make([]byte, 64<<10)}
	signals := []string{workflows.SignalUnsaved, workflows.SignalNudge, workflows.SignalReconnected, workflows.SignalContinueAsNew, "unheard_of"}
	for _, c := range chosen {
		for _, signal := range signals {
			for _, body := range bodies {
				if signal == workflows.SignalContinueAsNew && r.r.IntN(4) > 0 {
					continue // it is an honest one with any payload
				}
				if err := r.signal(c, signal, body); err != nil {
					return err
				}
			}
		}
		row := r.get(c)
		for _, generation := range []int64{-1, row.Generation + 1, math.MaxInt64} {
			asked, cancel := context.WithTimeout(ctx, 3*buffer/5)
			_, _ = connect.Refresh(asked, r.updates, row, workflows.RefreshNow{IfGeneration: generation}) // a refusal, or the row's token
			cancel()
			if after := r.get(c); after.Generation > row.Generation+3 {
				r.brokeOf(c, "a caller's generation %d became the row's: %d", generation, after.Generation)
			}
		}
	}
	if err := r.forgedStart(chosen[1]); err != nil {
		return err
	}
	return r.endRuns(chosen)
}

// endRuns ends the runs that hold the messages: a worker of the last release, which a later
// fault starts, would believe them when it replays these runs.
func (r *round) endRuns(of []*conn) error {
	for _, c := range of {
		run, err := r.runOf(c)
		if err != nil {
			return err
		}
		if err := r.signal(c, workflows.SignalContinueAsNew, nil); err != nil {
			return err
		}
		r.until(20*time.Second, c.account+" continues as new", func() bool {
			now, err := r.runOf(c)
			return err == nil && now != run
		})
	}
	return nil
}

// signal sends a signal. If a fault before has ended the workflow, an honest nudge starts
// it again first: the sweep finds that of a pooled connection in a full pass only.
func (r *round) signal(c *conn, signal string, body any) error {
	err := r.client.SignalWorkflow(context.Background(), workflows.ID(c.id), "", signal, body)
	var ended *serviceerror.NotFound
	if !errors.As(err, &ended) {
		return err
	}
	if err := r.updates.Signal(context.Background(), r.get(c), workflows.SignalNudge); err != nil {
		return err
	}
	return r.client.SignalWorkflow(context.Background(), workflows.ID(c.id), "", signal, body)
}

func (r *round) runOf(c *conn) (string, error) {
	d, err := r.client.DescribeWorkflowExecution(context.Background(), workflows.ID(c.id), "")
	return d.GetWorkflowExecutionInfo().GetExecution().GetRunId(), err
}

// forgedStart ends a connection's workflow and starts it with a state that nobody gave.
func (r *round) forgedStart(c *conn) error {
	ctx := context.Background()
	if err := r.client.TerminateWorkflow(ctx, workflows.ID(c.id), "", "the fault suite"); err != nil {
		return err
	}
	state := workflows.NewState(c.id)
	state.Generation, state.Refreshes = math.MaxInt64/2, 1<<40
	_, err := r.client.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.ID(c.id), TaskQueue: r.cfg.TaskQueue}, workflows.ConnectionWorkflow, state)
	if err != nil {
		return err
	}
	r.stir([]*conn{c})
	return nil
}

// attributeRemoved removes a search attribute beneath running workflows, and sets it up
// again. That costs the attribute and nothing else.
func attributeRemoved(r *round) error {
	ctx := context.Background()
	_, err := r.client.OperatorService().RemoveSearchAttributes(ctx, &operatorservice.RemoveSearchAttributesRequest{Namespace: "default", SearchAttributes: []string{"PerennialApp"}})
	if err != nil {
		return err
	}
	r.stir(pick(r.r, r.steady(r.five()), 30))
	r.wait(buffer)
	_, err = workflows.Setup(ctx, r.client, "default")
	return err
}
