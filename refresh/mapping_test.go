package refresh

import (
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/fill"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBothWaysAskTheSame: the gate gets every value, and the same ones from the slow
// path and from the single statement.
func TestBothWaysAskTheSame(t *testing.T) {
	t.Parallel()
	e := New(Config{})
	app := fill.Of[provider.App]()
	slow := e.admitRequest(fill.Of[perennial.Connection](), app)
	fast := e.fastAdmitRequest(Request{ConnectionID: "con_1", Generation: 1, App: "app", Trigger: perennial.TriggerRequest}, app)
	assert.Equal(t, []string{"SlotOnly"}, fill.Zeros(slow), "only the next request of a presentation sets it")
	assert.Empty(t, fill.Zeros(fast))
	assert.Equal(t, []any{slow.Rate, slow.Patience, slow.Lead}, []any{fast.Rate, fast.Patience, fast.Lead})
}

// TestLedgerLineIsWhole: a line of the ledger says everything that an attempt knows.
func TestLedgerLineIsWhole(t *testing.T) {
	t.Parallel()
	a := &attempt{row: fill.Of[perennial.Connection](), req: fill.Of[Request]()}
	a.now = a.row.NextRefreshAt.Add(time.Second)
	assert.Equal(t, []string{"TraceID"}, fill.Zeros(a.ledger(fill.Of[provider.Reply]())), "nothing traces yet")
}

// seen keeps the observations of an engine.
type seen struct{ all []Observation }

func (s *seen) Observe(o Observation) { s.all = append(s.all, o) }

// TestObservationsAreWhole: metrics get everything that an attempt knows.
func TestObservationsAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, refusal)
	observer := &seen{}
	b.Engine.Observer = observer
	b.app.Provider.ReplayClass = perennial.ReplayReusable
	for range 2 { // the second refusal confirms the first
		require.Eventually(t, func() bool {
			c, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			return err == nil && !c.WaitsUntil(now).After(now)
		}, time.Minute, 10*time.Millisecond)
		b.answers = []provider.Reply{refusal}
		b.refresh(t, t.Context(), 1)
	}
	require.Len(t, observer.all, 2)
	assert.Equal(t, []string{"RolledBack", "UnsavedRefused"}, fill.Zeros(observer.all[1]), "nothing of that happened")
	assert.Equal(t, "app", observer.all[1].App)
	assert.Equal(t, perennial.ReasonInvalidGrant, observer.all[1].Terminal)
	assert.InDelta(t, time.Hour.Seconds(), observer.all[0].LifeLeft.Seconds(), 60)
}

// TestOtherObservationsAreWhole: metrics hear of a database that went backwards, and of
// a connection that the gate did not admit, with its app.
func TestOtherObservationsAreWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	observer := &seen{}
	b.Engine.Observer = observer
	_, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 3, Floor: 3, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	assert.Contains(t, observer.all, Observation{App: "app", RolledBack: true})

	gate := fill.Of[store.Admission]()
	res := b.Engine.throttled(gate)
	assert.Equal(t, []string{"Description", "HTTPStatus", "Recovered", "Unsaved"}, fill.Zeros(res))
	assert.Equal(t, Observation{App: gate.Connection.App, Result: res}, observer.all[len(observer.all)-1])
}

// TestResultsAreWhole: whatever came of a refresh, its result has the row, the database's
// time and the reply's HTTP status.
func TestResultsAreWhole(t *testing.T) {
	t.Parallel()
	refused := refusal
	refused.Description = "d"
	for name, c := range map[string]struct {
		reply  provider.Reply
		change func(*bundle)
		zeros  []string
	}{
		"refreshed":   {reply: fresh("2"), zeros: []string{"RetryAt", "Code", "Description", "Recovered", "Unsaved"}},
		"unsaved":     {reply: fresh("2"), change: func(b *bundle) { b.Engine.Store, b.Engine.Timing.SaveTimeout = failingSaves{b.db}, time.Nanosecond }, zeros: []string{"RetryAt", "Description", "Recovered"}},
		"refused":     {reply: refused, zeros: []string{"Recovered", "Unsaved"}},
		"unavailable": {reply: provider.Reply{Outcome: perennial.OutcomeUnavailable, Code: "http_503", Description: "d", Sent: true, HTTPStatus: 503}, zeros: []string{"Recovered", "Unsaved"}},
		"rejected":    {reply: provider.Reply{Outcome: perennial.OutcomeRejected, Code: "http_403", Description: "d", Sent: true, HTTPStatus: 403}, zeros: []string{"Recovered", "Unsaved"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, c.reply)
			if c.change != nil {
				c.change(b)
			}
			res := b.refresh(t, t.Context(), 1)
			assert.Equal(t, c.zeros, fill.Zeros(res))
			assert.Equal(t, "con_1", res.Connection.ID)
			assert.Equal(t, c.reply.HTTPStatus, res.HTTPStatus)
		})
	}
}
