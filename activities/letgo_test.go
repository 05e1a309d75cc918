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
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// queue is an app's waiting connections, a turn each second, and their workflows.
type queue struct {
	waiting int
	turn    int // whose turn is the latest that has come

	mu   sync.Mutex
	told map[string]int
}

func (q *queue) LetGo(_ context.Context, _ string, after store.Turn, limit int) (out []perennial.Connection, on bool, err error) {
	from := 0
	if after.ID != "" {
		n, err := strconv.Atoi(after.ID)
		if err != nil || !after.At.Equal(now.Add(time.Duration(n)*time.Second)) {
			return nil, false, errors.New("no such turn")
		}
		from = n + 1
	}
	for n := from; n <= q.turn && len(out) < limit; n++ {
		out = append(out, perennial.Connection{ID: strconv.Itoa(n), NextAttemptAt: now.Add(time.Duration(n) * time.Second)})
	}
	q.turn = min(q.turn+700, q.waiting-1)
	return out, from+len(out) < q.waiting, nil
}

func (q *queue) Tell(_ context.Context, c perennial.Connection, signal string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.told[c.ID+" "+signal]++
	if c.ID == "3" {
		return errors.New("Temporal is away")
	}
	return nil
}

// TestLetGo: each waiting connection's workflow is told once, and one that cannot
// be told keeps nobody. A second try goes on where the first was.
func TestLetGo(t *testing.T) {
	t.Parallel()
	const waiting = 1500
	for name, done := range map[string]int{"all": 0, "the rest": 1000} {
		q := &queue{waiting: waiting, told: map[string]int{}}
		c := &activities.Caller{Store: q, Workflows: q}
		var suite testsuite.WorkflowTestSuite
		env := suite.NewTestActivityEnvironment()
		env.RegisterActivity(c)
		if done > 0 {
			env.SetHeartbeatDetails(store.Turn{ID: strconv.Itoa(done - 1), At: now.Add(time.Duration(done-1) * time.Second)})
		}
		v, err := env.ExecuteActivity(c.LetGo, "app")
		require.NoError(t, err, name)
		var out activities.LetGoResult
		require.NoError(t, v.Get(&out))
		require.Len(t, q.told, waiting-done, name)
		for n := done; n < waiting; n++ {
			require.Equal(t, 1, q.told[strconv.Itoa(n)+" nudge"], "%s: %d", name, n)
		}
		if done == 0 {
			assert.Equal(t, activities.LetGoResult{Called: waiting - 1, NotTold: 1}, out)
		}
	}
}
