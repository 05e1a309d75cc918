package activities_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// queue is an app whose connections have their turns in steps, and their workflows.
type queue struct {
	waiting int
	step    int
	pacers  int
	fails   int // the step that fails, once

	mu        sync.Mutex
	given     int
	steps     int
	signalled map[string]int
}

func (q *queue) Release(_ context.Context, req store.ReleaseRequest) (out []perennial.Connection, more bool, err error) {
	if req != (store.ReleaseRequest{App: "app", Rate: 7, Pooled: q.pacers > 0}) {
		return nil, false, errors.New("whose are they?")
	}
	q.steps++
	for ; len(out) < q.step && q.given < q.waiting; q.given++ {
		out = append(out, perennial.Connection{ID: strconv.Itoa(q.given)})
	}
	if q.steps == q.fails {
		return out, true, errors.New("the database is away")
	}
	return out, q.given < q.waiting, nil
}

func (q *queue) App(string) (provider.App, error) {
	return provider.App{Pacers: q.pacers, MaxRefreshesPerSecond: 7}, nil
}

func (q *queue) Signal(_ context.Context, c perennial.Connection, signal string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.signalled[c.ID+" "+signal]++
	if c.ID == "3" {
		return errors.New("Temporal is away")
	}
	return nil
}

// TestRelease: each connection that has its turn is called once, also those of a step
// that failed later. One that cannot be called delays no other. A second try continues
// where the first stopped.
func TestRelease(t *testing.T) {
	t.Parallel()
	const waiting = 900
	for name, pacers := range map[string]int{"own": 0, "pooled": 1} {
		q := &queue{waiting: waiting, step: 300, pacers: pacers, fails: 2, signalled: map[string]int{}}
		c := &activities.Releaser{Store: q, Workflows: q, Apps: q}
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(c)
		_, err := env.ExecuteActivity(c.Release, "app")
		require.ErrorContains(t, err, "the database is away", name)
		require.Len(t, q.signalled, 600, name)
		v, err := env.ExecuteActivity(c.Release, "app")
		require.NoError(t, err, name)
		var out activities.ReleaseResult
		require.NoError(t, v.Get(&out))
		assert.Equal(t, activities.ReleaseResult{Signalled: 300}, out)
		require.Len(t, q.signalled, waiting, name)
		for n := range waiting {
			require.Equal(t, 1, q.signalled[strconv.Itoa(n)+" nudge"], "%s: %d", name, n)
		}
	}
}
