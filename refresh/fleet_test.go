package refresh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fleet returns a bundle with n connections of its app.
func fleet(t *testing.T, n int, answer provider.Reply) (*bundle, []string) {
	t.Helper()
	b := setup(t, answer)
	b.Timing.ProbeInterval = 200 * time.Millisecond
	ids := []string{"con_1"}
	for i := 2; i <= n; i++ {
		c := perennial.Connection{ID: fmt.Sprintf("con_%d", i), TenantID: "t", App: "app", Provider: "generic", AccountID: fmt.Sprint(i)}
		first := fresh("1").Tokens
		w, err := Tokens(b.keyring, b.app, c, 1, first, first.RefreshToken, time.Now())
		require.NoError(t, err)
		_, err = b.db.Insert(t.Context(), perennial.WorkerAccess(), c, w)
		require.NoError(t, err)
		ids = append(ids, c.ID)
	}
	return b, ids
}

func (b *bundle) ask(t *testing.T, id string) Result {
	t.Helper()
	res, err := b.Engine.Refresh(context.Background(), Request{ConnectionID: id, Generation: 1, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	return res
}

func (b *bundle) requests() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.shown)
}

func (b *bundle) answer(r provider.Reply) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = []provider.Reply{r}
}

// release does the next step of the release of the app, as each worker does, and
// reports whether it goes on.
func (b *bundle) release(t *testing.T) (more bool) {
	t.Helper()
	_, more, err := b.db.Release(t.Context(), store.ReleaseRequest{App: "app", Rate: b.app.MaxRefreshesPerSecond})
	require.NoError(t, err)
	return more
}

// settle refreshes each connection whenever its row allows it, until all are as wanted.
func (b *bundle) settle(t *testing.T, ids []string, wanted func(perennial.Connection) bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	left := slices.Clone(ids)
	for len(left) > 0 {
		require.True(t, time.Now().Before(deadline), "never as wanted: %v", left)
		b.release(t)
		left = slices.DeleteFunc(left, func(id string) bool {
			c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), id)
			require.NoError(t, err)
			return !c.WaitsUntil(now).After(now) && wanted(b.ask(t, id).Connection)
		})
		time.Sleep(10 * time.Millisecond) // between two passes; no state depends on it
	}
}

// TestWrongSecretStopsAtTheCircuit: a fleet whose client is rejected sends two
// requests, then one each interval. No connection is disconnected, and all recover.
func TestWrongSecretStopsAtTheCircuit(t *testing.T) {
	t.Parallel()
	rejected := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401}
	b, ids := fleet(t, 12, rejected)
	b.Timing.ProbeInterval = 2 * time.Second // so that no probe is due before all have asked
	held := 0
	for _, id := range ids {
		res := b.ask(t, id)
		assert.Equal(t, perennial.StatusActive, res.Connection.Status)
		if res.Outcome == perennial.OutcomeThrottled {
			held++
			assert.Equal(t, store.CodeCircuitOpen, res.Code)
		}
	}
	assert.Equal(t, 10, held)
	assert.Equal(t, 2, b.requests())
	b.answer(fresh("2"))
	b.settle(t, ids, func(c perennial.Connection) bool { return c.Generation == 2 })
	for _, id := range ids {
		c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), id)
		require.NoError(t, err)
		assert.Equal(t, perennial.StatusActive, c.Status)
		assert.Equal(t, perennial.HealthHealthy, c.Health)
	}
	require.Eventually(t, func() bool { return !b.release(t) }, time.Minute, 10*time.Millisecond)
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	assert.False(t, s.Circuits[0].Open)
}

// TestACanaryIsPresented: a connection that must wait anyway does not use up a probe of
// an open circuit. Otherwise the circuit would stay open for another interval.
func TestACanaryIsPresented(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 4, provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401})
	b.app.Provider.ReplayClass = perennial.ReplayReuseRevokes
	lost := ids[3] // its worker dies after the sending mark
	claim, err := b.db.Claim(t.Context(), store.ClaimRequest{ID: lost, Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "lost", Lease: 2 * time.Second, Class: perennial.ReplayReuseRevokes})
	require.NoError(t, err)
	require.NoError(t, b.db.MarkSending(t.Context(), lost, "lost"))
	b.ask(t, ids[0])
	b.ask(t, ids[1])
	circuit := func() store.Circuit {
		s, err := b.db.AppState(t.Context(), "app")
		require.NoError(t, err)
		require.True(t, s.Circuits[0].Open)
		return s.Circuits[0]
	}
	before := circuit()
	require.Eventually(t, func() bool {
		now, err := b.db.Now(t.Context())
		return err == nil && now.After(before.NextProbeAt) && !claim.Connection.Open.Alive(now)
	}, time.Minute, time.Millisecond)
	res := b.ask(t, lost)
	assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	assert.True(t, res.Connection.Ambiguous())
	assert.Equal(t, before.NextProbeAt, circuit().NextProbeAt, "the probe is another's")
	b.answer(fresh("2"))
	assert.Equal(t, perennial.OutcomeRefreshed, b.ask(t, ids[2]).Outcome)
}

// TestOwnFaultsOpenNoCircuit: an error of this worker alone does not stop the others.
func TestOwnFaultsOpenNoCircuit(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 5, fresh("2"))
	b.app.ClientID = "another"
	for _, id := range ids {
		assert.Equal(t, "client_id_mismatch", b.ask(t, id).Code)
	}
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	assert.Empty(t, s.Circuits)
}

// TestFalseRefusalsOfManyAreHeld: the provider refuses everybody for a while, and
// repeats it. No customer must reconnect before an operator confirms the refusals.
func TestFalseRefusalsOfManyAreHeld(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 12, refusal)
	for range 3 {
		for _, id := range ids {
			c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), id)
			require.NoError(t, err)
			time.Sleep(min(c.ConfirmAt.Sub(now), time.Second))
			res := b.ask(t, id)
			assert.Equal(t, perennial.StatusActive, res.Connection.Status, id)
		}
	}
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	require.True(t, s.RefusalHold)
	b.answer(fresh("2"))
	require.NoError(t, b.db.DismissRefusalHold(t.Context(), "app"))
	b.settle(t, ids, func(c perennial.Connection) bool { return c.Generation == 2 && c.Health == perennial.HealthHealthy })
}

// TestLimitOverTwoEngines: two engines that refresh everything at once keep to one
// limit.
func TestLimitOverTwoEngines(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 30, fresh("2"))
	b.app.MaxRefreshesPerSecond = 20
	var sent []time.Time
	b.onSent = func() { sent = append(sent, time.Now()) } // called with b locked
	second := New(b.Config)
	var wg sync.WaitGroup
	for i, id := range ids {
		e := []*Engine{b.Engine, second}[i%2]
		wg.Go(func() {
			for {
				res, err := e.Refresh(context.Background(), Request{ConnectionID: id, Generation: 1, Trigger: perennial.TriggerTimer})
				if !assert.NoError(t, err) || res.Connection.Generation == 2 {
					return
				}
				time.Sleep(min(max(time.Until(res.RetryAt), time.Millisecond), time.Second))
			}
		})
	}
	wg.Wait()
	assert.Len(t, sent, len(ids))
	for i := range sent {
		n := 0
		for _, other := range sent {
			if d := other.Sub(sent[i]); d >= 0 && d < time.Second {
				n++
			}
		}
		assert.LessOrEqual(t, n, 21)
	}
}

// TestRetryAfterHolds: a wait that the provider asked for is in the row, and no kind of
// request shortens it.
func TestRetryAfterHolds(t *testing.T) {
	t.Parallel()
	limited := provider.Reply{Outcome: perennial.OutcomeRateLimited, Code: "too_many_requests", Sent: true, HTTPStatus: 429, RetryAfter: 3 * time.Hour}
	b, ids := fleet(t, 2, limited)
	res := b.ask(t, ids[0])
	assert.GreaterOrEqual(t, res.RetryAt.Sub(res.Now), 3*time.Hour-time.Second)
	for _, trigger := range []perennial.Trigger{perennial.TriggerRequest, perennial.TriggerRetry, perennial.TriggerTimer} {
		res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: ids[0], Generation: 1, Trigger: trigger})
		require.NoError(t, err)
		assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	}
	assert.Equal(t, 1, b.requests())
	assert.Equal(t, perennial.OutcomeRateLimited, b.ask(t, ids[1]).Outcome, "one account's limit is its own")

	b, ids = fleet(t, 2, limited)
	b.app.Provider.RateLimitScope = provider.ScopeApp
	b.ask(t, ids[0])
	assert.Equal(t, store.CodeSlowDown, b.ask(t, ids[1]).Code, "the app's limit is everybody's")
	assert.Equal(t, 1, b.requests())
}

func TestWithinGrace(t *testing.T) {
	t.Parallel()
	now := time.Now()
	lost := provider.Reply{Outcome: perennial.OutcomeUnknown, Sent: true}
	grace := provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: 10 * time.Minute}
	row := perennial.Connection{FailureCount: 20, ExpiresAt: now.Add(time.Hour), Open: perennial.OpenAttempt{StartedAt: now},
		RefreshTokenDigest: "d", AmbiguousDigest: "d", AmbiguousSince: now.Add(-9 * time.Minute)}
	assert.LessOrEqual(t, decide(row, grace, lost, now, 0).Wait, 30*time.Second, "while the window is open")
	row.AmbiguousSince = now.Add(-11 * time.Minute)
	assert.Greater(t, decide(row, grace, lost, now, 0).Wait, time.Minute, "after it as single use")
}

// slow returns rows whose wait has ended since they were read.
type slow struct {
	Store
	t     *testing.T
	clock func(context.Context) (time.Time, error)
}

func (s *slow) Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error) {
	c, now, err := s.Store.Get(ctx, perennial.WorkerAccess(), id)
	require.Eventually(s.t, func() bool {
		later, err := s.clock(ctx)
		return err == nil && later.After(c.WaitsUntil(now))
	}, time.Minute, time.Millisecond)
	return c, now, err
}

// TestAWaitThatEndsPassesTheGate: if a connection's wait ends between the read of its
// row and its claim, the gate must still admit it, and the gate learns of the success.
func TestAWaitThatEndsPassesTheGate(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 3, provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401})
	b.Timing.ProbeInterval = 2 * time.Second
	b.ask(t, ids[0])
	b.ask(t, ids[1])
	require.Equal(t, perennial.OutcomeThrottled, b.ask(t, ids[2]).Outcome)
	b.answer(fresh("2"))
	fast := b.Store
	b.Store = &slow{fast, t, b.db.Now}
	res := b.ask(t, ids[2])
	assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	assert.Equal(t, 2, b.requests())
	b.Store = fast
	b.settle(t, ids[2:], func(c perennial.Connection) bool { return c.Generation == 2 })
	require.Eventually(t, func() bool { return !b.release(t) }, time.Minute, 10*time.Millisecond)
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	assert.False(t, s.Circuits[0].Open)
}

// forgetful loses the first notes to a circuit.
type forgetful struct {
	Store
	lose int
}

func (f *forgetful) NoteReply(ctx context.Context, req store.NoteRequest) error {
	if f.lose > 0 && req.Outcome == perennial.OutcomeRefreshed {
		f.lose--
		<-ctx.Done()
		return ctx.Err()
	}
	return f.Store.NoteReply(ctx, req)
}

// TestACircuitIsToldAgain: if the note of the canary's success is lost, it is sent
// again, and the waiting connections are released.
func TestACircuitIsToldAgain(t *testing.T) {
	t.Parallel()
	b, ids := fleet(t, 5, provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401})
	b.Timing.SaveTimeout = 4 * time.Second // half of it for each note
	b.Store = &forgetful{Store: b.db, lose: 1}
	b.ask(t, ids[0])
	b.ask(t, ids[1])
	require.Equal(t, perennial.OutcomeThrottled, b.ask(t, ids[2]).Outcome)
	b.answer(fresh("2"))
	var res Result
	require.Eventually(t, func() bool {
		res = b.ask(t, ids[3])
		return res.Outcome == perennial.OutcomeRefreshed
	}, time.Minute, 10*time.Millisecond)
	s, err := b.db.AppState(t.Context(), "app")
	require.NoError(t, err)
	assert.True(t, s.Circuits[0].Releasing)
	b.release(t)
	c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), ids[2])
	require.NoError(t, err)
	assert.False(t, c.NextAttemptAt.After(now.Add(2*time.Second)), "called in")
}
