package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// unsavedMessage is the payload of [SignalUnsaved]. A payload that is no token set
// decodes to an empty one. If decoding failed, the SDK would drop the message without
// telling the workflow, Receive would keep waiting, and the SDK might decode the next
// message over the remains.
type unsavedMessage struct{ set store.SaveRequest }

// UnmarshalJSON implements json.Unmarshaler. It never fails.
func (m *unsavedMessage) UnmarshalJSON(raw []byte) error {
	*m = unsavedMessage{}
	var set store.SaveRequest
	if json.Unmarshal(raw, &set) == nil {
		m.set = set
	}
	return nil
}

// receive takes in every token set that has come as a message, and never waits. It
// drops what does not decode or is another connection's.
func (l *life) receive(ctx workflow.Context) {
	for before := l.unsaved.Len(); before > 0; before = l.unsaved.Len() {
		var m unsavedMessage
		l.unsaved.ReceiveAsync(&m)
		took := before - l.unsaved.Len() // more than one where the SDK dropped some
		l.messages += took
		if m.set.ID == l.state.ConnectionID {
			l.kept = append(l.kept, m.set)
			took--
		}
		if took > 0 {
			l.drop(ctx, took, errors.New("it is no token set of this connection"))
		}
	}
}

// drop counts messages that are not stored, and logs the first of a run.
func (l *life) drop(ctx workflow.Context, n int, cause error) {
	l.state.Dropped += int64(n)
	workflow.GetMetricsHandler(ctx).Counter("perennial_unsaved_dropped").Inc(int64(n))
	if !l.dropped {
		workflow.GetLogger(ctx).Error("a message with a token set is dropped", "error", cause)
	}
	l.dropped = true
}

// storeUnsaved stores the token sets that came as messages.
func (l *life) storeUnsaved(ctx workflow.Context) error {
	for l.holds() {
		l.receive(ctx)
		stored := false
		if len(l.kept) > 0 {
			res, ok, err := l.persist(ctx, l.kept[0])
			if err != nil {
				return err
			}
			l.kept = l.kept[1:]
			if stored = ok; ok {
				l.ended(ctx, res)
				l.absorb(ctx, res.View)
			}
		}
		if !stored && ctx.Err() == nil {
			if err := l.load(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// persist stores the tokens that a refresh brought and could not store. Nothing
// else is done meanwhile, and no message or cancellation ends it: they may be the
// only copy. stored is false where the set can never be stored, which drops it, or
// not now, which sets it aside.
func (l *life) persist(ctx workflow.Context, unsaved store.SaveRequest) (res activities.RefreshResult, stored bool, err error) {
	res, err = l.tryPersist(ctx, unsaved, temporal.RetryPolicy{MaximumInterval: 30 * time.Second})
	switch reason(err) {
	case activities.ErrNotOurs:
		l.drop(ctx, 1, err)
		return res, false, nil
	case activities.ErrSetAside:
		l.setAside(ctx, unsaved, err)
		return res, false, nil
	}
	return res, err == nil, err
}

func (l *life) tryPersist(ctx workflow.Context, unsaved store.SaveRequest, retries temporal.RetryPolicy) (res activities.RefreshResult, err error) {
	ctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: loadTimeout,
		RetryPolicy:         &retries,
		Summary:             fmt.Sprintf("store generation %d", unsaved.NewGeneration),
	})
	err = workflow.ExecuteActivity(ctx, acts.PersistSealed, unsaved).Get(ctx, &res)
	return res, err
}

// reason is the type of the error that ended PersistSealed, or empty.
func reason(err error) string {
	if failed, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return failed.Type()
	}
	return ""
}

const (
	setAsideMost  = 3
	setAsideBytes = 128 << 10 // of all of them
)

// setAside keeps a token set that does not open with the workers' keys, or that the
// database refuses, in the workflow's state: it is tried once more before each refresh.
// The timer goes on. What there is no room for stays in the run's history, and in the
// spool of the worker that received it.
func (l *life) setAside(ctx workflow.Context, unsaved store.SaveRequest, cause error) {
	kept := append(slices.Clone(l.state.SetAside), unsaved)
	raw, err := json.Marshal(kept) //workflowcheck:ignore -- a map's keys are sorted: each replay gives the same bytes
	if err != nil || len(kept) > setAsideMost || len(raw) > setAsideBytes {
		l.drop(ctx, 1, cause)
		return
	}
	l.state.SetAside = kept
	workflow.GetLogger(ctx).Error("a token set is set aside", "generation", unsaved.NewGeneration, "error", cause)
}

// retrySetAside tries each token set that was set aside once more, and reports
// whether one was stored.
func (l *life) retrySetAside(ctx workflow.Context) (stored bool) {
	var still []store.SaveRequest
	for _, unsaved := range l.state.SetAside {
		res, err := l.tryPersist(ctx, unsaved, temporal.RetryPolicy{MaximumAttempts: 1})
		switch {
		case err == nil:
			stored = true
			l.ended(ctx, res)
			l.absorb(ctx, res.View)
		case reason(err) == activities.ErrNotOurs:
			l.drop(ctx, 1, err)
		default:
			still = append(still, unsaved)
		}
	}
	l.state.SetAside = still
	return stored
}
