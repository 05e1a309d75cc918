package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"
)

const callerVariable = "PERENNIAL_TEST_CALLER"

// TestMain also runs this program as a process of callers, of which a test below starts
// five, and as a process of product code, see [product].
func TestMain(m *testing.M) {
	for variable, run := range map[string]func(string) error{callerVariable: callers, productVariable: product} {
		if raw := os.Getenv(variable); raw != "" {
			if err := run(raw); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	flag.Parse()
	if runtime.GOMAXPROCS(0) < atOnce {
		_ = flag.Set("test.parallel", strconv.Itoa(atOnce)) // it is a number
	}
	os.Exit(m.Run())
}

// atOnce is how many tests run at once at least. They mostly wait: for a token's end, a
// sweep, a server that does not answer.
const atOnce = 4

type callerOrder struct {
	Address, ID  string
	Callers      int
	IfGeneration int64
}

// callers sends refresh_now from many goroutines at once and prints one reply a line.
// It uses two Temporal handles, so that not all callers share one update.
func callers(raw string) error {
	var o callerOrder
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		return err
	}
	c, err := client.Dial(client.Options{HostPort: o.Address})
	if err != nil {
		return err
	}
	defer c.Close()
	handles := []*connect.Temporal{{Client: c}, {Client: c}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make(chan error, o.Callers)
	var wg sync.WaitGroup
	for i := range o.Callers {
		wg.Go(func() {
			reply, err := handles[i%2].RefreshNow(ctx, o.ID, workflows.RefreshNow{IfGeneration: o.IfGeneration})
			if err == nil {
				fmt.Printf("%d\n", reply.Generation)
			}
			errs <- err
		})
	}
	wg.Wait()
	for range o.Callers {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// TestFiftyCallersOneRequest: 50 callers in 5 processes and a timer are due in the same
// second, with two workers and a provider that takes 2 s.
func TestFiftyCallersOneRequest(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{})
	s.work()
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 16, Rotate: true, LatencyBeforeMS: 2000})
	due := time.Until(c.NextRefreshAt)
	require.Greater(t, due, 5*time.Second)
	order, err := json.Marshal(callerOrder{Address: s.address, ID: c.ID, Callers: 10, IfGeneration: c.Generation})
	require.NoError(t, err)
	// The callers come when the timer is due, give or take the time they take to start.
	timer := time.NewTimer(due - 300*time.Millisecond)
	<-timer.C
	var mu sync.Mutex
	var generations []string
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), callerVariable+"="+string(order))
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, string(out))
			mu.Lock()
			defer mu.Unlock()
			generations = append(generations, strings.Fields(string(out))...)
		})
	}
	wg.Wait()
	assert.Len(t, generations, 50)
	for _, g := range generations {
		assert.Equal(t, fmt.Sprint(c.Generation+1), g)
	}
	oracle := s.oracle("a1")
	assert.Equal(t, 1, oracle.Refreshes)
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests, "the provider saw one request")
}

// TestMessageCancelsARefresh pauses a connection while its refresh backs off, and
// another during its refresh. Both go on later.
func TestMessageCancelsARefresh(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := setup(t, setting{})
	s.work()
	backing := s.connect("backing off", fakeprovider.Knobs{LifetimeSeconds: 4, Rotate: true, RateLimited: 1, RetryAfter: "45"})
	running := s.connect("running", fakeprovider.Knobs{LifetimeSeconds: 5, Rotate: true, LatencyBeforeMS: 2000})

	s.until(backing.ID, "the provider's 429", func(c perennial.Connection) bool { return c.FailureCount == 1 })
	before := s.get(backing.ID)
	assert.Greater(t, time.Until(before.NextAttemptAt), 40*time.Second, "Retry-After is kept")
	_, err := s.service.Pause(ctx, perennial.WorkerAccess(), backing.ID)
	require.NoError(t, err)
	s.eventually("the workflow knows the pause, though its activity backed off", func() bool { return s.workflowStatus(backing.ID) == perennial.StatusPaused })
	_, err = s.service.Resume(ctx, perennial.WorkerAccess(), backing.ID)
	require.NoError(t, err)
	s.eventually("and the resume", func() bool { return s.workflowStatus(backing.ID) == perennial.StatusActive })
	reply, err := s.updates.RefreshNow(ctx, backing.ID, workflows.RefreshNow{})
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeThrottled, reply.Outcome, "nobody shortens the provider's wait")
	assert.Equal(t, before.NextAttemptAt, reply.RetryAt)

	s.until(running.ID, "a refresh under way", func(c perennial.Connection) bool { return !c.Open.IsZero() })
	_, err = s.service.Pause(ctx, perennial.WorkerAccess(), running.ID)
	require.NoError(t, err)
	paused := s.until(running.ID, "the reply stored all the same", generation(2))
	assert.Equal(t, perennial.StatusPaused, paused.Status)
	s.eventually("the workflow knows", func() bool { return s.workflowStatus(running.ID) == perennial.StatusPaused })
	_, err = s.service.Resume(ctx, perennial.WorkerAccess(), running.ID)
	require.NoError(t, err)
	s.until(running.ID, "the next refresh", generation(3))
	assert.Zero(t, s.oracle("running").ConsumedPresentations)
	s.replayAll(running.ID, "cancel")
	s.replayAll(backing.ID, "cancel-backoff")
}

func (s *stack) workflowStatus(id string) perennial.Status {
	s.Helper()
	v, err := s.client.QueryWorkflow(context.Background(), workflows.ID(id), "", workflows.QueryStatus)
	require.NoError(s, err)
	var reply workflows.StatusReply
	require.NoError(s, v.Get(&reply))
	return reply.Status
}

// TestTemporalRestarts stops Temporal while connections sleep, and starts it again on
// the same files.
func TestTemporalRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := startTemporal(dir, 0, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Stop()) })
	s := setup(t, setting{address: server.Address})
	s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 8, Rotate: true})
	s.until(c.ID, "a refresh", generation(2))
	first := s.describe(c.ID).FirstRunId
	require.NoError(t, server.Kill())
	var port, uiPort int
	_, err = fmt.Sscanf(server.Address, "127.0.0.1:%d", &port)
	require.NoError(t, err)
	_, err = fmt.Sscanf(server.UI, "http://127.0.0.1:%d", &uiPort)
	require.NoError(t, err)
	again, err := startTemporal(dir, port, uiPort)
	require.NoError(t, err)
	server = again
	now := s.get(c.ID).Generation
	s.until(c.ID, "two refreshes after the restart", generation(now+2))
	assert.Equal(t, first, s.describe(c.ID).FirstRunId)
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
}
