package workflows

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
)

// TestMissingRowIsLookedFor: a row that is missing without a tombstone does not end the
// workflow. It looks again and again, shows that, and goes on when the row is back. With
// a tombstone it ends.
func TestMissingRowIsLookedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{})
	var shown StatusReply
	ask := func() {
		shown = StatusReply{}
		v, err := r.QueryWorkflow(QueryStatus)
		require.NoError(t, err)
		require.NoError(t, v.Get(&shown))
	}
	looks := 0
	set := func(gone bool, ended store.Tombstone) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.gone, w.ended, looks = gone, ended, w.gets
	}
	r.RegisterDelayedCallback(func() { set(true, "") }, 2*time.Minute)
	r.RegisterDelayedCallback(func() {
		ask()
		assert.True(t, shown.Missing)
		assert.Equal(t, activities.StatusMissing, shown.Status)
		assert.Less(t, w.gets-looks, 20, "it does not look all the time")
		assert.Greater(t, w.gets-looks, 7)
		set(false, "")
		r.SignalWorkflow(SignalNudge, nil)
	}, 4*time.Hour)
	r.RegisterDelayedCallback(func() {
		ask()
		assert.False(t, shown.Missing)
		assert.Equal(t, w.c.Generation, shown.Generation)
		assert.True(t, w.c.ExpiresAt.After(w.now), "refreshed again")
		set(true, store.TombstoneErased)
		r.SignalWorkflow(SignalNudge, nil)
	}, 4*time.Hour+2*time.Minute)
	r.ExecuteWorkflow(ConnectionWorkflow, NewState("con_1"))
	require.True(t, r.IsWorkflowCompleted())
	require.NoError(t, r.GetWorkflowError())
	assert.Positive(t, looks)
}

// TestGoneWithoutATombstone: an older program's activity says "gone" of every missing
// row. A run of before the change ends on replay; a run of today looks again.
func TestGoneWithoutATombstone(t *testing.T) {
	t.Parallel()
	w := newWorld(time.Hour, 0)
	r := w.newRun(t, Options{})
	calls := 0
	r.OnActivity(acts.Load, mock.Anything, mock.Anything).Return(func(context.Context, activities.LoadRequest) (activities.View, error) {
		calls++
		if calls < 4 {
			return activities.View{Gone: true}, nil
		}
		return activities.View{Gone: true, Tombstone: store.TombstoneDisconnected}, nil
	}).Maybe()
	state := NewState("con_1")
	state.Revision = changeTombstones.since
	r.ExecuteWorkflow(ConnectionWorkflow, state)
	require.True(t, r.IsWorkflowCompleted())
	require.NoError(t, r.GetWorkflowError())
	assert.Equal(t, 4, calls)
}
