package activities_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"
)

// shard is a store, a provider and the workflows of one shard, in memory.
type shard struct {
	unbound error // nothing may be presented

	mu      sync.Mutex
	due     []perennial.Connection
	answers map[string]refresh.Result // a connection without an answer is refreshed
	errs    map[string]error
	limit   float64
	behind  bool // the database went backwards
	claims  int
	beats   []int64
	lates   []time.Duration
	calls   int // the largest number of connections that were requested at once
	members []perennial.Connection

	slots     []time.Time
	presented map[string]time.Time // by connection: its rate slot
	signalled map[string]string
	kept      []store.SaveRequest
	rewound   []int64
	claimed   store.Shard

	slow   map[string]bool // these wait until others is closed
	others chan struct{}
	want   int    // others is closed by the last of so many
	empty  func() // called when nothing is due any more
}

func (s *shard) Ready() error { return s.unbound }

func (s *shard) App(string) (provider.App, error) {
	return provider.App{Name: "app", Pacers: 2, MaxRefreshesPerSecond: s.limit}, nil
}

func (s *shard) ClaimDue(_ context.Context, req store.ClaimDueRequest) (store.ClaimDueResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats, s.lates, s.calls = append(s.beats, req.Beat), append(s.lates, req.Late), max(s.calls, req.Limit)
	s.claimed = req.Shard
	if s.behind {
		return store.ClaimDueResult{Beat: req.Beat, RolledBack: true}, nil
	}
	if s.claims++; s.claims == 1 {
		return store.ClaimDueResult{}, errors.New("the database is away")
	}
	n := min(req.Limit, len(s.due))
	out := store.ClaimDueResult{Beat: req.Beat}
	for _, c := range s.due[:n] {
		out.Claims = append(out.Claims, store.Claim{Verdict: store.VerdictClaimed, Connection: c, Now: now})
		out.Beat = req.Beat + 1
	}
	s.due = s.due[n:]
	if n == 0 {
		s.empty()
	}
	return out, nil
}

func (s *shard) MarkRolledBack(_ context.Context, _ store.Shard, beat int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind = false
	s.rewound = append(s.rewound, beat)
	return 5, nil
}

func (s *shard) Due(_ context.Context, _ store.Shard, limit int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.due) == 0 {
		s.empty()
	}
	return min(limit, len(s.due)), nil
}

func (s *shard) Members(_ context.Context, _ store.Shard, after string, limit int) (page []perennial.Connection, err error) {
	for _, c := range s.members {
		if c.ID > after && len(page) < limit {
			page = append(page, c)
		}
	}
	return page, nil
}

func (s *shard) TakeSlots(_ context.Context, _ string, rate float64, _, _ time.Duration, n int) (time.Time, time.Duration, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = min(n, 2)
	first := now.Add(time.Duration(len(s.slots)) * time.Second)
	for range n {
		s.slots = append(s.slots, first)
	}
	return first, time.Second / time.Duration(rate), n, nil
}

func (s *shard) RefreshClaimed(ctx context.Context, claim store.Claim, _, slot time.Time, _ string) (refresh.Result, error) {
	if s.slow[claim.Connection.ID] {
		select {
		case <-s.others:
		case <-time.After(time.Minute): // the test fails by what is missing then
		}
	}
	s.mu.Lock()
	if s.others != nil && len(s.presented) == s.want-1 {
		close(s.others)
	}
	defer s.mu.Unlock()
	s.presented[claim.Connection.ID] = slot
	if res, ok := s.answers[claim.Connection.ID]; ok {
		return res, s.errs[claim.Connection.ID]
	}
	return refresh.Result{Outcome: perennial.OutcomeRefreshed}, s.errs[claim.Connection.ID]
}

func (s *shard) Persist(context.Context, store.SaveRequest) (refresh.Result, error) {
	return refresh.Result{}, errors.New("the database is away")
}

func (s *shard) Signal(_ context.Context, c perennial.Connection, signal string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signalled[c.ID] = signal
	return nil
}

func (s *shard) Unsaved(_ context.Context, _ perennial.Connection, req store.SaveRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, req)
	return nil
}

func (s *shard) pace(t *testing.T, connections int, beat int64) activities.PaceResult {
	t.Helper()
	s.presented, s.signalled = map[string]time.Time{}, map[string]string{}
	for i := range connections {
		s.due = append(s.due, perennial.Connection{ID: fmt.Sprint(i), App: "app", NextRefreshAt: now.Add(-time.Duration(i) * time.Second)})
	}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	stop := make(chan struct{})
	s.empty = sync.OnceFunc(func() { close(stop) })
	env.SetWorkerStopChannel(stop)
	p := &activities.Pacer{Engine: s, Store: s, Workflows: s, Apps: s}
	env.RegisterActivity(p)
	v, err := env.ExecuteActivity(p.Pace, activities.PaceRequest{App: "app", N: 1, Of: 2, For: time.Minute, Beat: beat})
	require.NoError(t, err)
	var out activities.PaceResult
	require.NoError(t, v.Get(&out))
	assert.Equal(t, store.Shard{App: "app", N: 1, Of: 2}, s.claimed)
	return out
}

// TestPaceHandsOver: a connection whose refresh does not end in stored tokens goes to
// its own workflow, even after the database was away. Sealed sets go with it.
func TestPaceHandsOver(t *testing.T) {
	t.Parallel()
	s := &shard{answers: map[string]refresh.Result{
		"3": {Outcome: perennial.OutcomeRevoked},
		"4": {Outcome: perennial.OutcomeUnknown, Code: refresh.CodeUnsaved, Unsaved: &store.SaveRequest{ID: "4"}},
		"5": {Outcome: perennial.OutcomeAlreadyFresh},
	}, errs: map[string]error{"6": errors.New("the attempt could not be closed")}}
	out := s.pace(t, 200, 7)
	assert.Len(t, s.presented, 200)
	assert.EqualValues(t, 196, out.Refreshed)
	assert.EqualValues(t, 4, out.HandedOver)
	assert.Equal(t, map[string]string{"3": "nudge", "5": "nudge", "6": "nudge"}, s.signalled)
	assert.Equal(t, []store.SaveRequest{{ID: "4"}}, s.kept)
	assert.Greater(t, out.Beat, int64(7))
	assert.Equal(t, 199*time.Second, out.Latest)
	assert.False(t, out.Done)
}

// TestPaceLearnsFromFew: only a few are presented before one has succeeded.
func TestPaceLearnsFromFew(t *testing.T) {
	t.Parallel()
	const due = 200
	bad := &shard{answers: map[string]refresh.Result{}}
	for i := range due {
		bad.answers[fmt.Sprint(i)] = refresh.Result{Outcome: perennial.OutcomeMisconfigured}
	}
	assert.EqualValues(t, due, bad.pace(t, due, 0).HandedOver)
	assert.Equal(t, 2, bad.calls, "nobody knows what becomes of the first")

	good := &shard{}
	assert.EqualValues(t, due, good.pace(t, due, 0).Refreshed)
	assert.GreaterOrEqual(t, good.calls, 16, "they go well")
}

// TestPaceBesideSlowOnes: connections whose provider answers slowly keep no other waiting,
// from the first claim on.
func TestPaceBesideSlowOnes(t *testing.T) {
	t.Parallel()
	for _, slow := range []int{1, 10, 60} {
		const due = 200
		s := &shard{slow: map[string]bool{}, others: make(chan struct{}), want: due - slow}
		for i := range slow {
			s.slow[fmt.Sprint(1+i*3)] = true // not both of the first two, which would end in silence
		}
		began := time.Now()
		assert.EqualValues(t, due, s.pace(t, due, 0).Refreshed, slow)
		assert.Less(t, time.Since(began), 30*time.Second, "%d slow ones: nobody waited for them", slow)
	}
}

// TestPaceColdBesideSlowOnes: a pacer begins with two places, and the two connections in
// them answer slowly. The others wait for five seconds, not for the replies.
func TestPaceColdBesideSlowOnes(t *testing.T) {
	t.Parallel()
	const due = 20
	s := &shard{slow: map[string]bool{"0": true, "1": true}, others: make(chan struct{}), want: due - 2}
	began := time.Now()
	assert.EqualValues(t, due, s.pace(t, due, 0).Refreshed)
	assert.Less(t, time.Since(began), 9*time.Second)
}

// TestPaceSilence: a provider that answers nothing gets as many requests more as there are
// places to lend, and no place is freed twice.
func TestPaceSilence(t *testing.T) {
	t.Parallel()
	for quick, sent := range map[int]int{0: 2 + 2 + 2, 400: 64 + 16} { // cold: after 0, 5 and 10 s; warm: all places
		s := &shard{slow: map[string]bool{}, others: make(chan struct{}), want: -1}
		for i := range 200 {
			s.slow[fmt.Sprint(quick+i)] = true
		}
		time.AfterFunc(13*time.Second, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			assert.Equal(t, quick+sent, quick+200-len(s.due))
			close(s.others)
		})
		assert.EqualValues(t, quick+200, s.pace(t, quick+200, 0).Refreshed)
		assert.LessOrEqual(t, s.calls, 64)
	}
}

// TestPaceGoesOnBesideSlowOnes: the time of a pacer ends while a provider still answers
// slowly. The activity ends, so that the next one begins, and the process waits for the
// reply.
func TestPaceGoesOnBesideSlowOnes(t *testing.T) {
	t.Parallel()
	s := &shard{slow: map[string]bool{"0": true}, others: make(chan struct{}), empty: func() {}, presented: map[string]time.Time{},
		due: []perennial.Connection{{ID: "0", App: "app"}, {ID: "1", App: "app"}}, claims: 1}
	s.want = 3 // never: only the test ends the wait
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	var slow sync.WaitGroup
	p := &activities.Pacer{Engine: s, Store: s, Workflows: s, Apps: s, Slow: &slow}
	env.RegisterActivity(p)
	v, err := env.ExecuteActivity(p.Pace, activities.PaceRequest{App: "app", N: 1, Of: 2, For: 100 * time.Millisecond})
	require.NoError(t, err)
	var out activities.PaceResult
	require.NoError(t, v.Get(&out))
	assert.EqualValues(t, 1, out.Refreshed, "the other one")
	s.mu.Lock()
	assert.NotContains(t, s.presented, "0", "nobody waited for it")
	s.mu.Unlock()
	close(s.others)
	slow.Wait()
	assert.Contains(t, s.presented, "0", "and it was not cut off")
}

// TestPaceStaysWarm: a pacer whose last success is recent has places for the others
// while two connections that were due together answer slowly.
func TestPaceStaysWarm(t *testing.T) {
	t.Parallel()
	s := &shard{slow: map[string]bool{"slow 0": true, "slow 1": true}, others: make(chan struct{}), want: 3, presented: map[string]time.Time{},
		due: []perennial.Connection{{ID: "0", App: "app"}}, claims: 1}
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	stop := make(chan struct{})
	env.SetWorkerStopChannel(stop)
	looks := 0
	s.empty = func() { // called with s locked
		switch looks++; looks {
		case 1:
			s.due = []perennial.Connection{{ID: "slow 0", App: "app"}, {ID: "slow 1", App: "app"}}
		case 2:
			s.due = []perennial.Connection{{ID: "1", App: "app"}, {ID: "2", App: "app"}}
		case 3:
			close(stop)
		}
	}
	p := &activities.Pacer{Engine: s, Store: s, Workflows: s, Apps: s}
	env.RegisterActivity(p)
	began := time.Now()
	_, err := env.ExecuteActivity(p.Pace, activities.PaceRequest{App: "app", N: 1, Of: 2, For: time.Minute})
	require.NoError(t, err)
	assert.Len(t, s.presented, 5)
	assert.Less(t, time.Since(began), 30*time.Second, "the slow ones waited for the others, and not the others for them")
}

// TestPaceAfterARestore: a database that is behind the pacer's beat gives nothing until
// its rows are marked.
func TestPaceAfterARestore(t *testing.T) {
	t.Parallel()
	s := &shard{behind: true}
	out := s.pace(t, 1, 7)
	assert.Equal(t, []int64{7}, s.rewound)
	assert.EqualValues(t, 5, out.MarkedRolledBack)
	assert.EqualValues(t, 1, out.Refreshed)
}

// TestPaceUnderALimit: only as many are claimed as there are slots, and each is
// presented at its own.
func TestPaceUnderALimit(t *testing.T) {
	t.Parallel()
	s := &shard{limit: 10}
	s.pace(t, 5, 0)
	require.Len(t, s.presented, 5)
	seen := map[time.Time]int{}
	for _, slot := range s.presented {
		assert.False(t, slot.IsZero())
		seen[slot]++
	}
	assert.Len(t, seen, 5, "a slot for each")
}

// TestPaceEnds: if its app is no longer pooled in this way, a pacer hands its
// connections over, claims only late ones until then, and ends.
func TestPaceEnds(t *testing.T) {
	t.Parallel()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	s := &shard{signalled: map[string]string{}, empty: func() {}}
	for i := range 40 {
		s.members = append(s.members, perennial.Connection{ID: fmt.Sprintf("%03d", i)})
	}
	p := &activities.Pacer{Engine: s, Store: s, Workflows: s, Apps: s}
	env.RegisterActivity(p)
	v, err := env.ExecuteActivity(p.Pace, activities.PaceRequest{App: "app", N: 2, Of: 3, For: time.Minute, After: "004"})
	require.NoError(t, err)
	var out activities.PaceResult
	require.NoError(t, v.Get(&out))
	assert.True(t, out.Done)
	assert.Equal(t, "039", out.After)
	assert.Len(t, s.signalled, 35)
	assert.NotEmpty(t, s.lates)
	for _, late := range s.lates {
		assert.Equal(t, 10*time.Second, late)
	}
}

// TestDigest: a load of a pooled app's connection returns what happened to it.
func TestDigest(t *testing.T) {
	t.Parallel()
	row := perennial.Connection{ID: "con_1", Status: perennial.StatusActive, Health: perennial.HealthHealthy, Generation: 9,
		LastRefreshedAt: now.Add(-time.Minute), NextRefreshAt: now.Add(20 * time.Minute), ExpiresAt: now.Add(30 * time.Minute)}
	f := &fake{row: row, pacers: 2}
	v, err := do[activities.View](t, f, "Load", activities.LoadRequest{ConnectionID: "con_1", Since: now.Add(-time.Hour)})
	require.NoError(t, err)
	assert.True(t, v.Pooled)
	assert.Empty(t, v.Trigger)
	assert.Greater(t, v.Wait, 20*time.Minute, "the pacers refresh it")
	assert.LessOrEqual(t, v.Wait, 24*time.Hour)
	require.NotNil(t, v.Summary)
	assert.Equal(t, now.Add(-time.Hour), v.Summary.From)
	for what, change := range map[string]func(*perennial.Connection){
		"failing": func(c *perennial.Connection) { c.Health = perennial.HealthFailing },
		"suspect": func(c *perennial.Connection) { c.SuspectSince = now },
		"late":    func(c *perennial.Connection) { c.NextRefreshAt = now.Add(-2 * time.Second) },
		"waiting": func(c *perennial.Connection) { c.NextAttemptAt = now.Add(time.Second) },
		"new":     func(c *perennial.Connection) { c.UnprovenSince = now.Add(-time.Hour) },
	} {
		f.row = row
		change(&f.row)
		v, err = do[activities.View](t, f, "Load", activities.LoadRequest{ConnectionID: "con_1"})
		require.NoError(t, err)
		assert.False(t, v.Pooled, what)
		assert.LessOrEqual(t, v.Wait, 20*time.Minute, what)
	}
}
