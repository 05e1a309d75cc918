package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLeftToWorkflow: without Temporal no process presents a token about which anything
// is in doubt.
func TestLeftToWorkflow(t *testing.T) {
	t.Parallel()
	c := perennial.Connection{Generation: 3, RefreshTokenDigest: "now"}
	assert.False(t, LeftToWorkflow(c))
	for name, change := range map[string]func(*perennial.Connection){
		"an open attempt":     func(c *perennial.Connection) { c.Open = perennial.OpenAttempt{ID: "a"} },
		"a spent token":       func(c *perennial.Connection) { c.AmbiguousSince, c.AmbiguousDigest = time.Now(), "now" },
		"an unsure refusal":   func(c *perennial.Connection) { c.SuspectSince, c.SuspectDigest = time.Now(), "now" },
		"all of them at once": func(c *perennial.Connection) { c.Open.ID, c.SuspectSince, c.SuspectDigest = "a", time.Now(), "now" },
	} {
		doubtful := c
		change(&doubtful)
		assert.True(t, LeftToWorkflow(doubtful), name)
	}
}

// unsaved is an engine whose token set could not be stored.
type unsaved struct {
	requests []Request
	saved    []store.SaveRequest
}

func (u *unsaved) Refresh(_ context.Context, req Request) (Result, error) {
	u.requests = append(u.requests, req)
	return Result{Outcome: perennial.OutcomeUnknown, Unsaved: &store.SaveRequest{ID: req.ConnectionID, NewGeneration: 4}}, nil
}

func (u *unsaved) SaveLater(ctx context.Context, req store.SaveRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u.saved = append(u.saved, req)
	return nil
}

// TestFallbackSavesLater: a set that the store did not take is kept, even if the caller
// has left.
func TestFallbackSavesLater(t *testing.T) {
	t.Parallel()
	ctx, gone := context.WithCancel(t.Context())
	u := &unsaved{}
	var later func()
	res, err := Fallback(ctx, u, perennial.Connection{ID: "con_1", App: "app", Generation: 3}, func(save func()) { later = save })
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeUnknown, res.Outcome)
	assert.Equal(t, []Request{{ConnectionID: "con_1", App: "app", Generation: 3, Trigger: perennial.TriggerFallback}}, u.requests)
	require.NotNil(t, later, "nobody else has the set")
	gone()
	later()
	assert.Equal(t, []store.SaveRequest{{ID: "con_1", NewGeneration: 4}}, u.saved)
}
