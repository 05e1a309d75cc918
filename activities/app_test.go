package activities_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/activities"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// troubled is an app in trouble, and its workflows.
type troubled struct {
	state    store.AppState
	now      time.Time
	canaries []perennial.Connection
	pages    [][]perennial.Connection
	away     bool // Temporal takes no signal
	gone     bool // the database does not answer

	mu      sync.Mutex
	called  []store.CanaryRequest
	signals []string
	here    []string
}

func (a *troubled) CallCanaries(_ context.Context, req store.CanaryRequest) ([]perennial.Connection, error) {
	a.called = append(a.called, req)
	return a.canaries, nil
}

func (a *troubled) Release(context.Context, store.ReleaseRequest) (page []perennial.Connection, more bool, err error) {
	if len(a.pages) == 0 {
		return nil, false, nil
	}
	page, a.pages = a.pages[0], a.pages[1:]
	return page, len(a.pages) > 0, nil
}

func (a *troubled) AppTrouble(context.Context, string) (store.AppState, time.Time, error) {
	if a.gone {
		return store.AppState{}, a.now, errors.New("away")
	}
	return a.state, a.now, nil
}

func (a *troubled) Queued(context.Context, string, string, int) (int64, error) { return 42, nil }

func (a *troubled) App(string) (provider.App, error) {
	return provider.App{MaxRefreshesPerSecond: 6, Provider: provider.Entry{ReplayClass: perennial.ReplayGrace}}, nil
}

func (a *troubled) Signal(_ context.Context, c perennial.Connection, signal string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signals = append(a.signals, c.ID+" "+signal)
	if a.away {
		return errors.New("Temporal is away")
	}
	return nil
}

func (a *troubled) keeper() *activities.AppKeeper {
	return &activities.AppKeeper{Store: a, Apps: a, Releaser: &activities.Releaser{Store: a, Workflows: a, Apps: a},
		Canaries: &activities.Canaries{Store: a, Workflows: a, Apps: a, Here: func(_ context.Context, c perennial.Connection) { a.here = append(a.here, c.ID) }}}
}

func ids(names ...string) (out []perennial.Connection) {
	for _, name := range names {
		out = append(out, perennial.Connection{ID: name})
	}
	return out
}

// TestLookAfterApp: a look calls the canary, does the steps of a release, and says how the
// app is and when to look again.
func TestLookAfterApp(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	open := store.Circuit{App: "crm", Host: "api.example", Open: true, Reason: "misconfigured", Code: "invalid_client", OpenedAt: now.Add(-time.Hour), NextProbeAt: now.Add(20 * time.Second), Probes: 7, NextCanary: "con_7"}
	releasing := open
	releasing.Releasing, releasing.ReleasingAt = true, now
	evidence := []store.Evidence{{Host: "api.example", TenantID: "acme", Kind: "misconfigured", Code: "invalid_client", Connections: 3, Counted: 2, Since: now}}
	for name, c := range map[string]struct {
		state store.AppState
		wait  time.Duration
		next  string
		well  bool
		said  []string
	}{
		"well": {store.AppState{}, time.Minute, "look", true, nil},
		"open": {store.AppState{Circuits: []store.Circuit{open}, Evidence: evidence}, 19500 * time.Millisecond, "probe", false,
			[]string{"circuit open since 2026-05-01 11:00:00, misconfigured (invalid_client)", "next probe at 2026-05-01 12:00:20 by con_7, after 7 in vain; 42 wait", "3 connections of tenant acme", "2 of them were well before"}},
		"releasing": {store.AppState{Circuits: []store.Circuit{releasing}}, time.Second, "release", false, []string{"releases the waiting connections since", "42 wait; at most 5 a second go"}},
		"stopped": {store.AppState{Circuits: []store.Circuit{open}, StoppedAt: now, OperatorDid: "stop", OperatorAt: now}, time.Minute, "look", false,
			[]string{"stopped by an operator since 2026-05-01 12:00:00", "perennial app start", "an operator did stop at 2026-05-01 12:00:00"}},
		"hold":    {store.AppState{RefusalHold: true, HoldReason: "8 of 9", HoldRaisedAt: now}, time.Minute, "look", false, []string{"refusals are not believed since 2026-05-01 12:00:00: 8 of 9"}},
		"started": {store.AppState{OperatorDid: "start", OperatorAt: now}, time.Minute, "look", true, []string{"an operator did start"}},
	} {
		a := &troubled{state: c.state, now: now, canaries: ids("con_7"), pages: [][]perennial.Connection{ids("con_1", "con_2"), ids("con_3")}}
		a.state.App = "crm"
		got, err := a.keeper().LookAfterApp(t.Context(), "crm")
		require.NoError(t, err, name)
		assert.Equal(t, c.well, got.Well, name)
		assert.Equal(t, c.wait, got.Wait, name)
		assert.Equal(t, c.next, got.Next, name)
		said := strings.Join(append(got.Heads, got.Lines...), "\n")
		for _, want := range c.said {
			assert.Contains(t, said, want, name)
		}
		assert.Empty(t, got.Problem, name)
		assert.ElementsMatch(t, []string{"con_7 nudge", "con_1 nudge", "con_2 nudge", "con_3 nudge"}, a.signals, name)
		require.Equal(t, []store.CanaryRequest{{App: "crm", Class: perennial.ReplayGrace, Ahead: activities.CanaryAhead}}, a.called)
		assert.Empty(t, a.here)
	}
}

// TestLookWhileOthersAreAway: Temporal takes no signal: the canaries are left to this
// process, which judges itself what may be presented, and a page is given up after a few
// failures. A database that does not answer is an error.
func TestLookWhileOthersAreAway(t *testing.T) {
	t.Parallel()
	a := &troubled{away: true, canaries: ids("con_7", "con_8")}
	for i := range 500 {
		if i == 0 {
			a.pages = append(a.pages, nil)
		}
		a.pages[0] = append(a.pages[0], ids(fmt.Sprint(i))...)
	}
	got, err := a.keeper().LookAfterApp(t.Context(), "crm")
	require.NoError(t, err)
	assert.Contains(t, got.Problem, "Temporal is away")
	assert.LessOrEqual(t, len(got.Problem), 300)
	assert.Equal(t, []string{"con_7", "con_8"}, a.here)
	assert.Less(t, len(a.signals), 20)
	a.gone = true
	_, err = a.keeper().LookAfterApp(t.Context(), "crm")
	require.Error(t, err)
}

// TestManyHosts: an app whose hosts are all in trouble has a short page.
func TestManyHosts(t *testing.T) {
	t.Parallel()
	a := &troubled{state: store.AppState{App: "crm"}}
	for i := range 300 {
		a.state.Circuits = append(a.state.Circuits, store.Circuit{App: "crm", Host: fmt.Sprint(i), Open: true})
	}
	got, err := a.keeper().LookAfterApp(t.Context(), "crm")
	require.NoError(t, err)
	assert.Len(t, got.Heads, 10)
	assert.Contains(t, strings.Join(got.Lines, "\n"), "And 290 more hosts")
}
