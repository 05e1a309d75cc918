package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// unsavedMessage is the payload of [SignalUnsaved]. A payload that is not a token set
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

// receiveUnsaved receives every token set that has arrived as a message. It never
// waits. It drops messages that do not decode or belong to another connection.
func (r *run) receiveUnsaved(ctx workflow.Context) {
	for before := r.unsaved.Len(); before > 0; before = r.unsaved.Len() {
		var m unsavedMessage
		r.unsaved.ReceiveAsync(&m)
		took := before - r.unsaved.Len() // more than one if the SDK dropped some
		r.messages += took
		if m.set.ID == r.state.ConnectionID && r.fits(ctx, m.set) {
			r.unstored = append(r.unstored, m.set)
			took--
		}
		if took > 0 {
			r.drop(ctx, took, errors.New("it is no token set of this connection"))
		}
	}
}

// changeBoundSets: before it, the workflow tried to store a set of any size. A set that
// is larger when it is encoded again than an activity's input may be ended the workflow.
var changeBoundSets = change{"bound-sets", 2}

// fits reports whether a set is no larger than sets of ours get.
func (r *run) fits(ctx workflow.Context, set store.SaveRequest) bool {
	_, size := with(nil, set)
	return size <= setAsideBytes || !r.changed(ctx, changeBoundSets)
}

// drop counts n messages that are not stored, and logs the first of a run.
func (r *run) drop(ctx workflow.Context, n int, cause error) {
	r.state.Dropped += int64(n)
	workflow.GetMetricsHandler(ctx).Counter("perennial_unsaved_dropped").Inc(int64(n))
	if !r.dropped {
		workflow.GetLogger(ctx).Error("a message with a token set is dropped", "error", cause)
	}
	r.dropped = true
}

// storeUnsaved stores the token sets that arrived as messages.
func (r *run) storeUnsaved(ctx workflow.Context) error {
	for r.hasUnstored() {
		r.receiveUnsaved(ctx)
		stored := false
		if len(r.unstored) > 0 {
			res, ok, err := r.persist(ctx, r.unstored[0])
			if err != nil {
				return err
			}
			r.unstored = r.unstored[1:]
			if stored = ok; ok {
				r.ended(ctx, res)
				r.applyView(ctx, res.View)
			}
		}
		if !stored && ctx.Err() == nil {
			if err := r.load(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// persist stores a token set that a refresh received and could not store. Nothing else
// happens meanwhile, and no message or cancellation ends it, because this may be the
// only copy. stored is false if the set can never be stored (persist drops it), or not
// now (persist sets it aside).
func (r *run) persist(ctx workflow.Context, unsaved store.SaveRequest) (res activities.RefreshResult, stored bool, err error) {
	res, err = r.tryPersist(ctx, unsaved, temporal.RetryPolicy{MaximumInterval: 30 * time.Second})
	switch reason(err) {
	case activities.ErrNotOurs:
		r.refuse(ctx, unsaved, err)
		return res, false, nil
	case activities.ErrSetAside:
		r.setAside(ctx, unsaved, err)
		return res, false, nil
	}
	return res, err == nil, err
}

func (r *run) tryPersist(ctx workflow.Context, unsaved store.SaveRequest, retries temporal.RetryPolicy) (res activities.RefreshResult, err error) {
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

// reason returns the type of the error that ended PersistSealed, or "".
func reason(err error) string {
	if failed, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return failed.Type()
	}
	return ""
}

// refuse counts a set that the engine refused, and keeps the first few for an operator who wants
// to know where they came from.
func (r *run) refuse(ctx workflow.Context, unsaved store.SaveRequest, cause error) {
	r.drop(ctx, 1, cause)
	if kept, size := with(r.state.Refused, unsaved); len(kept) <= maxRefused && size <= refusedBytes {
		r.state.Refused = kept
	}
}

// The bounds of the sets in the workflow's state, in numbers and in bytes of all sets
// together. A set has less than 1 MiB, and the state must fit into a message (2 MiB).
const (
	maxSetAside         = 3
	setAsideBytes       = 1 << 20
	setAsideBytesBefore = 128 << 10 // before changeLargerSets
	maxRefused          = 3
	refusedBytes        = 64 << 10
)

// changeLargerSets: before it, a set of more than 128 KiB was not set aside.
var changeLargerSets = change{"larger-sets", 2}

// setAside keeps a token set in the workflow's state if the workers' keys do not open
// it or the database refuses it. Each refresh first tries it once more; while it is
// there, the row lets nobody present the token before it. The timer goes on. If there is
// no room, the set stays in the run's history, and in the spool of the worker that
// received it.
func (r *run) setAside(ctx workflow.Context, unsaved store.SaveRequest, cause error) {
	kept, size := with(r.state.SetAside, unsaved)
	room := size <= setAsideBytesBefore || size <= setAsideBytes && r.changed(ctx, changeLargerSets)
	if len(kept) > maxSetAside || !room {
		r.drop(ctx, 1, cause)
		return
	}
	r.state.SetAside = kept
	workflow.GetLogger(ctx).Error("a token set is set aside", "generation", unsaved.NewGeneration, "error", cause)
}

// with returns the sets with one more, and their size in bytes.
func with(sets []store.SaveRequest, more store.SaveRequest) ([]store.SaveRequest, int) {
	kept := append(slices.Clone(sets), more)
	raw, err := json.Marshal(kept) //workflowcheck:ignore -- a map's keys are sorted: each replay gives the same bytes
	if err != nil {
		return kept, math.MaxInt
	}
	return kept, len(raw)
}

// retrySetAside tries once more to store each token set that was set aside. It reports
// whether one was stored.
func (r *run) retrySetAside(ctx workflow.Context) (stored bool) {
	var still []store.SaveRequest
	for _, unsaved := range r.state.SetAside {
		res, err := r.tryPersist(ctx, unsaved, temporal.RetryPolicy{MaximumAttempts: 1})
		switch {
		case err == nil:
			stored = true
			r.ended(ctx, res)
			r.applyView(ctx, res.View)
		case reason(err) == activities.ErrNotOurs:
			r.refuse(ctx, unsaved, err)
		default:
			still = append(still, unsaved)
		}
	}
	r.state.SetAside = still
	return stored
}
