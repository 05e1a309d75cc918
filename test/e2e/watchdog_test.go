package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	tokens "github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/perennial-oauth/perennial/wiring/direct"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	refusal "google.golang.org/grpc/status"
)

// gateway stands between Perennial and a real Temporal, as Temporal Cloud's does. What it
// is told to do also concerns the calls that are under way.
type gateway struct {
	address string
	does    atomic.Int32
	health  grpc_health_v1.HealthClient
	grpc_health_v1.UnimplementedHealthServer
}

const (
	passes  int32 = iota
	refuses       // every call, as for an expired API key; its health is well
	stalls        // accepts every call and never answers
)

func newGateway(t *testing.T) *gateway {
	t.Helper()
	server, err := temporal()
	require.NoError(t, err)
	upstream, err := grpc.NewClient(server.Address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = upstream.Close() })
	g := &gateway{health: grpc_health_v1.NewHealthClient(upstream)}
	calls, err := proxy.NewWorkflowServiceProxyServer(proxy.WorkflowServiceProxyOptions{Client: workflowservice.NewWorkflowServiceClient(upstream)})
	require.NoError(t, err)
	s := grpc.NewServer(grpc.UnaryInterceptor(g.intercept))
	workflowservice.RegisterWorkflowServiceServer(s, calls)
	operatorservice.RegisterOperatorServiceServer(s, operatorservice.UnimplementedOperatorServiceServer{}) // as in Temporal Cloud
	grpc_health_v1.RegisterHealthServer(s, g)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g.address = l.Addr().String()
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	t.Cleanup(func() { g.does.Store(passes) })
	return g
}

func (g *gateway) Check(ctx context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return g.health.Check(ctx, req)
}

func (g *gateway) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := g.hinder(ctx, info); err != nil {
		return nil, err
	}
	answer, err := handler(ctx, req)
	if hindered := g.hinder(ctx, info); hindered != nil {
		return nil, hindered
	}
	return answer, err
}

func (g *gateway) hinder(ctx context.Context, info *grpc.UnaryServerInfo) error {
	switch does := g.does.Load(); {
	case does == refuses && !strings.Contains(info.FullMethod, "health"):
		return refusal.Error(codes.PermissionDenied, "the API key has expired")
	case does == stalls:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// expiring makes all connections due after a time, with tokens that were stored an hour ago
// and expire in life.
func (s *stack) expiring(in, life time.Duration) {
	s.Helper()
	dbtest.New(s.T, s.url).Exec(s.T, fmt.Sprintf("UPDATE connections SET last_refreshed_at = clock_timestamp() - interval '1 hour', next_refresh_at = clock_timestamp() + interval '%f seconds', expires_at = clock_timestamp() + interval '%f seconds'", in.Seconds(), life.Seconds()))
}

// product returns a client of product code that has an engine, over the stack's Temporal.
func (s *stack) product() *tokens.Client {
	s.Helper()
	deps, err := wiring.Open(s.Context(), s.deps.Config, s.deps.Log)
	require.NoError(s, err)
	s.Cleanup(deps.Close)
	require.NoError(s, deps.OpenSpool())
	backend, err := direct.New(direct.Config{Tenant: "tenant", Store: deps.Store, Keys: deps.Keyring, Apps: deps.Config,
		Workflows: direct.Temporal(s.client, deps.Config.TaskQueue), Engine: refresh.New(deps.EngineConfig()), Floor: deps.Config.Timing.Floor()})
	require.NoError(s, err)
	s.Cleanup(backend.Close)
	c, err := tokens.New(tokens.Config{Backend: backend, Log: s.deps.Log})
	require.NoError(s, err)
	s.Cleanup(c.Close)
	return c
}

// onTime waits until the connections are refreshed, each before its token expires and by
// processes beside Temporal.
func (s *stack) onTime(cs []perennial.Connection, before int64) {
	s.Helper()
	for _, c := range cs {
		s.until(c.ID, "refreshed beside Temporal", generation(before+1))
		newest := s.lastAttempt(c.ID)
		assert.Equal(s, perennial.TriggerFallback, newest.Trigger)
		assert.Positive(s, newest.LifeLeft, "before its token expired")
	}
}

func (s *stack) lastAttempt(id string) perennial.Attempt {
	s.Helper()
	attempts, err := s.deps.Store.Attempts(s.Context(), perennial.WorkerAccess(), id, 1)
	require.NoError(s, err)
	require.NotEmpty(s, attempts)
	return attempts[0]
}

// elsewhere writes a configuration whose worker polls another task queue.
func (s *stack) elsewhere() (path string) {
	s.Helper()
	raw, err := os.ReadFile(s.path)
	require.NoError(s, err)
	path = s.path + ".elsewhere"
	changed := strings.Replace(string(raw), fmt.Sprintf("task_queue: %q", s.deps.Config.TaskQueue), `task_queue: "elsewhere"`, 1)
	require.NotEqual(s, string(raw), changed)
	require.NoError(s, os.WriteFile(path, []byte(changed), 0o600))
	return path
}

// TestWatchdog: for each cause that keeps Temporal from refreshing connections, two workers beside it
// do, before the tokens expire and each once. The product that asks for a token gets a
// fresh one. When Temporal works again, the workflows go on.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	const many = 20
	for name, c := range map[string]struct {
		does   int32
		queue  bool // the workers poll another task queue
		answer string
	}{
		"refuses":                 {refuses, false, "PermissionDenied"},
		"stalls":                  {stalls, false, "no answer"},
		"does nothing, and is up": {passes, true, "OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			s := setup(t, setting{address: g.address, class: perennial.ReplaySingleUse})
			right := s.path
			if c.queue {
				s.path = s.elsewhere()
			}
			stops := []func(){s.work(), s.work()}
			var cs []perennial.Connection
			for i := range many {
				cs = append(cs, s.connect(fmt.Sprintf("a%d", i), fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true}))
			}
			if !c.queue {
				for _, c := range cs {
					s.eventually("its workflow sleeps", func() bool {
						status, err := s.updates.RefreshNow(t.Context(), c.ID, workflows.RefreshNow{})
						return err == nil && status.Generation == 1
					})
				}
			}
			g.does.Store(c.does)
			s.expiring(0, 30*time.Second)
			s.onTime(cs, 1)
			assert.Equal(t, many, s.provider.Oracle().TokenRequests, "each once, by two workers")
			s.says("/metrics", "\nperennial_beside_temporal 1\n")
			s.says("/metrics", fmt.Sprintf("\nperennial_temporal_answer{code=%q} 1\n", c.answer))
			s.says("/readyz?verbose", "[-]refreshes neglected connections: ")
			assert.Contains(t, string(s.logs.Bytes()), `"msg":"connections are neglected: nobody refreshes them in time"`)

			if c.queue { // a worker of the right queue starts
				stops[0]()
				stops[1]()
				s.path = right
				s.work()
			}
			g.does.Store(passes)
			s.expiring(time.Second, 10*time.Minute)
			for _, c := range cs {
				require.NoError(t, s.updates.Signal(t.Context(), c, workflows.SignalNudge))
			}
			for _, c := range cs {
				s.until(c.ID, "its workflow goes on", generation(3))
				assert.Equal(t, perennial.TriggerTimer, s.lastAttempt(c.ID).Trigger)
			}
			assert.Zero(t, s.provider.Oracle().ConsumedPresentations)
			assert.Equal(t, 2*many, s.provider.Oracle().TokenRequests)
		})
	}
}

// TestWatchdogOfOneWorkflow: the workflows work, but one. Its connection alone is refreshed
// beside Temporal.
func TestWatchdogOfOneWorkflow(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	s.work()
	var cs []perennial.Connection
	for i := range 4 {
		cs = append(cs, s.connect(fmt.Sprintf("a%d", i), fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true}))
	}
	for _, c := range cs {
		s.eventually("its workflow sleeps", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
	}
	stuck, others := cs[0], cs[1:]
	require.NoError(t, s.client.TerminateWorkflow(t.Context(), workflows.ID(stuck.ID), "", "by a mistake"))
	s.expiring(0, 30*time.Second)
	for _, c := range others {
		require.NoError(t, s.updates.Signal(t.Context(), c, workflows.SignalNudge))
	}
	for _, c := range others {
		s.until(c.ID, "its workflow refreshes it", generation(2))
		assert.Equal(t, perennial.TriggerTimer, s.lastAttempt(c.ID).Trigger)
	}
	s.onTime([]perennial.Connection{stuck}, 1)
	assert.Equal(t, 4, s.provider.Oracle().TokenRequests)
	s.says("/metrics", "\nperennial_temporal_answer{code=\"OK\"} 1\n")
}

// TestWatchdogOfAProduct: no worker looks after a connection. Product code that asks for
// its token has a fresh one at once, though Temporal answers, refuses or stalls: from its
// own engine, and from the HTTP API.
func TestWatchdogOfAProduct(t *testing.T) {
	t.Parallel()
	for name, does := range map[string]int32{"answers": passes, "refuses": refuses, "stalls": stalls} {
		for over, client := range map[string]func(*stack) *tokens.Client{
			"direct": (*stack).product,
			"HTTP":   func(s *stack) *tokens.Client { return s.remote(s.serve()) },
		} {
			t.Run(over+", "+name, func(t *testing.T) {
				t.Parallel()
				g := newGateway(t)
				s := setup(t, setting{address: g.address, class: perennial.ReplaySingleUse})
				c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
				product := client(s)
				g.does.Store(does)
				s.expiring(-2*time.Minute, 30*time.Second)
				began := time.Now()
				got, err := product.Token(t.Context(), c.ID)
				require.NoError(t, err)
				assert.Less(t, time.Since(began), 8*time.Second, "it did not wait ten seconds for the workflow")
				assert.EqualValues(t, 2, got.Generation)
				assert.Equal(t, perennial.TriggerFallback, s.lastAttempt(c.ID).Trigger)
				assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
			})
		}
	}
}

// unsavable is a store that takes no token set.
type unsavable struct{ refresh.Store }

func (unsavable) Save(context.Context, store.SaveRequest) (store.SaveResult, error) {
	return store.SaveResult{}, errors.New("away")
}

// TestTheSetOfAStuckWorkflow: a refresh could not store its tokens, and only the workflow
// has them, which nobody works for. A process that finds the connection neglected stores
// them from the workflow's history, and presents no spent token.
func TestTheSetOfAStuckWorkflow(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{class: perennial.ReplaySingleUse})
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true})
	config := s.deps.EngineConfig()
	config.Store = unsavable{s.deps.Store}
	res, err := refresh.New(config).Refresh(t.Context(), refresh.Request{ConnectionID: c.ID, Generation: 1, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	require.NotNil(t, res.Unsaved)
	require.NoError(t, s.updates.Unsaved(t.Context(), s.get(c.ID), *res.Unsaved))
	s.expiring(-2*time.Minute, 30*time.Second)
	dbtest.New(t, s.url).Exec(t, "UPDATE connections SET attempt_deadline = clock_timestamp() - interval '20 seconds'")
	product := s.product()
	s.until(c.ID, "its set is stored", func(c perennial.Connection) bool {
		_, err := product.Token(t.Context(), c.ID)
		require.NoError(t, err)
		return c.Generation == 2
	})
	assert.Equal(t, 1, s.provider.Oracle().TokenRequests)
	sets, err := workflows.UnsavedSets(t.Context(), s.client, c.ID)
	require.NoError(t, err)
	assert.Len(t, sets, 1)
	sets, err = workflows.UnsavedSets(t.Context(), s.client, "con_without_workflow")
	require.NoError(t, err)
	assert.Empty(t, sets)
}

// TestABacklogIsNoNeglect: connections that wait for their app's rate slots, longer than
// half of their buffer, are their workflows'.
func TestABacklogIsNoNeglect(t *testing.T) {
	t.Parallel()
	s := setup(t, setting{extra: ", max_refreshes_per_second: 2"})
	s.work()
	const many = 30
	var cs []perennial.Connection
	for i := range many {
		cs = append(cs, s.connect(fmt.Sprintf("a%d", i), fakeprovider.Knobs{LifetimeSeconds: 3600, Rotate: true}))
	}
	for _, c := range cs {
		s.eventually("its workflow sleeps", func() bool { return s.execution(c.ID) == enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING })
	}
	s.expiring(0, 10*time.Second)
	for _, c := range cs {
		require.NoError(t, s.updates.Signal(t.Context(), c, workflows.SignalNudge))
	}
	for _, c := range cs {
		s.until(c.ID, "its turn comes", generation(2))
		assert.NotEqual(t, perennial.TriggerFallback, s.lastAttempt(c.ID).Trigger)
	}
	assert.NotContains(t, string(s.logs.Bytes()), "connections are neglected")
}

// says fails the test unless a worker's page has the text.
func (s *stack) says(path, text string) {
	s.Helper()
	pages := s.pages(path)
	assert.True(s, slices.ContainsFunc(pages, func(page string) bool { return strings.Contains(page, text) }), "%s says %q nowhere: %s", path, text, pages)
}
