package activities_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// queue is an app's waiting connections, with a turn each second, and their workflows.
type queue struct {
	waiting int
	each    int // how many of the called ones have gone at each look
	turn    int // the latest turn that has come
	pacers  int

	mu        sync.Mutex
	signalled map[string]int
	gone      int
	most      int // the most that were called and had not gone
}

// AppState is that of a large app, which releases 350 a second.
func (q *queue) AppState(context.Context, string) (store.AppState, error) {
	return store.AppState{Connections: map[perennial.Status]int64{perennial.StatusActive: 210_000}}, nil
}

func (q *queue) SignalledNotRefreshed(context.Context, store.ReleaseBatchRequest) (int, error) {
	still := len(q.signalled) - q.gone
	q.most = max(q.most, still)
	q.gone += min(still, q.each)
	return len(q.signalled) - q.gone, nil
}

func (q *queue) ReleaseBatch(_ context.Context, req store.ReleaseBatchRequest) (out []perennial.Connection, on bool, err error) {
	if req.Pooled != (q.pacers > 0) {
		return nil, false, errors.New("whose are they?")
	}
	from := 0
	if req.After.ID != "" {
		n, err := strconv.Atoi(req.After.ID)
		if err != nil || !req.After.At.Equal(now.Add(time.Duration(n)*time.Second)) {
			return nil, false, errors.New("no such turn")
		}
		from = n + 1
	}
	for n := from; n <= q.turn && len(out) < req.Limit; n++ {
		out = append(out, perennial.Connection{ID: strconv.Itoa(n), NextAttemptAt: now.Add(time.Duration(n) * time.Second)})
	}
	q.turn = min(q.turn+700, q.waiting-1)
	return out, from+len(out) < q.waiting, nil
}

func (q *queue) App(string) (provider.App, error) { return provider.App{Pacers: q.pacers}, nil }

func (q *queue) Signal(_ context.Context, c perennial.Connection, signal string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.signalled[c.ID+" "+signal]++
	if c.ID == "3" {
		return errors.New("Temporal is away")
	}
	return nil
}

// TestRelease: each waiting connection's workflow is called once, not long before the
// earlier ones have gone. One that cannot be called delays no other. A second try
// continues where the first stopped.
func TestRelease(t *testing.T) {
	t.Parallel()
	const waiting = 1500
	for name, done := range map[string]int{"all": 0, "the rest": 1000} {
		q := &queue{waiting: waiting, each: 400, pacers: done, signalled: map[string]int{}}
		c := &activities.Releaser{Store: q, Workflows: q, Apps: q}
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(c)
		if done > 0 {
			env.SetHeartbeatDetails(store.ReleaseCursor{ID: strconv.Itoa(done - 1), At: now.Add(time.Duration(done-1) * time.Second)})
		}
		v, err := env.ExecuteActivity(c.Release, "app")
		require.NoError(t, err, name)
		var out activities.ReleaseResult
		require.NoError(t, v.Get(&out))
		require.Len(t, q.signalled, waiting-done, name)
		require.LessOrEqual(t, q.most, 700, "two seconds' worth")
		for n := done; n < waiting; n++ {
			require.Equal(t, 1, q.signalled[strconv.Itoa(n)+" nudge"], "%s: %d", name, n)
		}
		if done == 0 {
			assert.Equal(t, activities.ReleaseResult{Signalled: waiting - 1, NotSignalled: 1}, out)
		}
	}
}
