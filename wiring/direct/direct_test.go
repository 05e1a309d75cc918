package direct

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client"
	"github.com/perennial-oauth/perennial/client/resource"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture { return setup(t, testpg.URL(t)).fixture() })
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	clienttest.Run(t, func(t *testing.T) clienttest.Fixture { return setup(t, sqlite(t)).fixture() })
}

// TestWorkflowThatDoesNotRun: a workflow that does not run is started first.
func TestWorkflowThatDoesNotRun(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.missing = true
	require.NoError(t, b.Refresh(t.Context(), b.id, 1))
	assert.Equal(t, []string{workflows.SignalNudge + " " + b.id + " acme"}, b.signalled)
	assert.EqualValues(t, 2, b.row().Generation)
}

// TestBeside: only without an answer from Temporal is the engine called.
func TestBeside(t *testing.T) {
	t.Parallel()
	refreshed := func(b *bundle) func(refresh.Request) (refresh.Result, error) {
		return func(req refresh.Request) (refresh.Result, error) {
			assert.Equal(t, refresh.Request{ConnectionID: b.id, Generation: 1, App: "app", Trigger: perennial.TriggerFallback, Judged: b.row().UpdatedAt}, req)
			b.renew(30 * time.Minute)
			return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
		}
	}
	for name, c := range map[string]struct {
		change    func(*bundle)
		alone     bool
		presented int64
		ok        bool
		code      perennial.Code
	}{
		"the workflow answers":            {func(b *bundle) {}, false, 0, true, ""},
		"the workflow refuses":            {func(b *bundle) { b.answer = perennial.Errorf(perennial.CodePaused, "paused") }, false, 0, false, perennial.CodePaused},
		"Temporal is away":                {func(b *bundle) { b.silent, b.sickness = true, errors.New("refused") }, false, 1, true, ""},
		"no worker answers":               {func(b *bundle) { b.silent = true }, false, 1, true, ""},
		"Temporal is away, and no engine": {func(b *bundle) { b.silent, b.sickness = true, errors.New("refused") }, true, 0, false, perennial.CodeInternal},
		"an attempt that was closed": {func(b *bundle) {
			b.silent, b.sickness = true, errors.New("refused")
			b.doubt()
		}, false, 1, true, ""},
		"an attempt that was never closed": {func(b *bundle) {
			b.silent, b.sickness = true, errors.New("refused")
			b.claim()
			b.overdue("attempt_deadline", time.Second)
		}, false, 0, false, perennial.CodeUnavailable},
		"no worker answers after such an attempt, and its workflow has no set": {func(b *bundle) {
			b.silent = true
			b.claim()
			b.overdue("attempt_deadline", time.Second)
		}, false, 1, true, ""},
		"no worker answers after such an attempt, and its workflow has the set": {func(b *bundle) {
			b.silent, b.sets = true, []store.SaveRequest{{ID: b.id}}
			b.claim()
			b.overdue("attempt_deadline", time.Second)
		}, false, 0, true, ""},
		"the engine fails": {func(b *bundle) {
			b.silent, b.sickness = true, errors.New("refused")
			b.result = func(refresh.Request) (refresh.Result, error) {
				return refresh.Result{Outcome: perennial.OutcomeRateLimited, Code: "rate_limited"}, nil
			}
		}, false, 1, false, perennial.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, sqlite(t))
			b.result = refreshed(b)
			c.change(b)
			backend := b.of("acme", engine{b})
			if c.alone {
				backend = b.Backend
			}
			err := backend.Refresh(t.Context(), b.id, 1)
			backend.Close()
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			assert.Equal(t, c.presented, b.presented.Load())
			assert.Equal(t, c.ok, b.row().Generation == 2)
		})
	}
}

// TestNeglected: a connection that its workflow does not refresh in time is refreshed
// here, and the workflow is not asked. One that is only due, and one that Temporal must
// answer for and does not, are the workflow's.
func TestNeglected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change           func(*bundle)
		presented, calls int64
	}{
		"overdue":                     {func(b *bundle) { b.overdue("next_refresh_at", time.Hour) }, 1, 0},
		"due":                         {func(b *bundle) { b.overdue("next_refresh_at", time.Second/2) }, 0, 1},
		"it waits":                    {func(b *bundle) { b.overdue("next_refresh_at", time.Hour); b.overdue("next_attempt_at", -time.Hour) }, 0, 1},
		"an attempt was never closed": {func(b *bundle) { b.neverClosed(); b.setsErr = errors.New("away") }, 0, 1},
		"and its workflow has no set": {func(b *bundle) { b.neverClosed() }, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, sqlite(t))
			b.result = func(refresh.Request) (refresh.Result, error) {
				b.renew(30 * time.Minute)
				return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
			}
			c.change(b)
			require.NoError(t, b.of("acme", engine{b}).Refresh(t.Context(), b.id, 1))
			assert.Equal(t, c.presented, b.presented.Load())
			assert.Equal(t, c.calls, b.calls.Load())
			assert.EqualValues(t, 2, b.row().Generation)
		})
	}
	b := setup(t, sqlite(t))
	b.overdue("next_refresh_at", time.Hour)
	require.NoError(t, b.Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 1, b.calls.Load(), "without an engine the workflow is asked")
}

// neverClosed leaves an attempt that ended long ago, of a connection that is overdue.
func (b *bundle) neverClosed() {
	b.claim()
	for _, column := range []string{"next_refresh_at", "attempt_started_at", "attempt_deadline"} {
		b.overdue(column, time.Hour)
	}
}

// TestGenerationAheadBeside: a caller whose generation is above the row's learns the row's,
// and nothing is presented.
func TestGenerationAheadBeside(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	err := b.of("acme", engine{b}).Refresh(t.Context(), b.id, 7)
	ahead, ok := errors.AsType[*perennial.GenerationAheadError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, perennial.GenerationAheadError{Connection: b.id, Generation: 1}, *ahead)
	assert.Zero(t, b.presented.Load())
}

// TestAnotherProcessIsAtIt: a caller waits for another process's refresh and does not
// repeat it.
func TestAnotherProcessIsAtIt(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.result = func(refresh.Request) (refresh.Result, error) {
		go func() { b.renew(30 * time.Minute) }()
		return refresh.Result{Outcome: perennial.OutcomeBusy}, nil
	}
	require.NoError(t, b.of("acme", engine{b}).Refresh(t.Context(), b.id, 1))
	assert.EqualValues(t, 2, b.row().Generation)
}

// TestUnsavedIsKept: no workflow has the set that the engine could not store.
func TestUnsavedIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.result = func(refresh.Request) (refresh.Result, error) {
		return refresh.Result{Outcome: perennial.OutcomeRefreshed, Code: refresh.CodeUnsaved, Unsaved: &store.SaveRequest{ID: b.id}}, nil
	}
	backend := b.of("acme", engine{b})
	require.NoError(t, backend.Refresh(t.Context(), b.id, 1))
	backend.Close()
	assert.EqualValues(t, 1, b.saved.Load())
}

func TestReconnectLinks(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.renew(time.Millisecond)
	b.fixture().SetStatus(perennial.StatusReconnectRequired, perennial.ReasonInvalidGrant)
	c, err := client.New(client.Config{Backend: b.Backend})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	_, err = c.Token(t.Context(), b.id)
	reconnect := new(client.ErrReconnectRequired)
	require.ErrorAs(t, err, &reconnect)
	assert.Equal(t, "https://app.example/"+b.id, reconnect.ReconnectURL)
	assert.Equal(t, "https://help.example", reconnect.HelpURL)
	assert.Equal(t, perennial.ReasonInvalidGrant, reconnect.Reason)
	assert.Contains(t, err.Error(), "access was removed in HubSpot")
	assert.WithinDuration(t, time.Now(), reconnect.Since, time.Minute)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{})
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	b := setup(t, sqlite(t))
	config := b.Config
	config.Engine = refresh.New(refresh.Config{})
	_, err = New(config)
	require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
	assert.Contains(t, err.Error(), "spool")
}

// TestWhatTheAppSays: the token state has the catalogue's facts, and the row's wait.
func TestWhatTheAppSays(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	github, ok := provider.Lookup("github")
	require.True(t, ok)
	b.app.Provider = github
	c := b.claim()
	closed, ok, err := b.db.CloseAttempt(t.Context(), store.CloseRequest{ID: b.id, AttemptID: c.Open.ID, Generation: 1, Digest: c.RefreshTokenDigest, Wait: time.Hour,
		Ledger: perennial.Attempt{ID: c.Open.ID, ConnectionID: b.id, Generation: 1, Trigger: perennial.TriggerTimer, Outcome: perennial.OutcomeRateLimited, StartedAt: c.Open.StartedAt}})
	require.NoError(t, err)
	require.True(t, ok)
	h, err := b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Equal(t, "GitHub", h.Title)
	assert.True(t, h.KillsAccess)
	assert.Equal(t, closed.NextAttemptAt, h.RetryAt)
	b.app.Provider.API = resource.Of(h.Provider)
	h, err = b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Nil(t, h.API, "the client's own table knows as much")
	said := resource.Server{Spellings: []resource.Spelling{{HTTPStatus: 403, Means: resource.UnauthorizedToken}}}
	b.app.Provider.API = said
	h, err = b.Load(t.Context(), b.id)
	require.NoError(t, err)
	assert.Equal(t, &said, h.API)
}

// TestSickTemporalIsLeftAlone: a process with an engine does not ask Temporal again at
// once.
func TestSickTemporalIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.result = func(refresh.Request) (refresh.Result, error) {
		return refresh.Result{Outcome: perennial.OutcomeRefreshed}, nil
	}
	backend := b.of("acme", engine{b})
	for range 3 {
		require.NoError(t, backend.Refresh(t.Context(), b.id, 1))
	}
	assert.EqualValues(t, 3, b.presented.Load())
	assert.EqualValues(t, 1, b.calls.Load())
}

// TestOpenAttempt: while another process holds the fence, nothing is presented.
func TestOpenAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t, sqlite(t))
	b.silent, b.sickness = true, errors.New("refused")
	b.claim()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := b.of("acme", engine{b}).Refresh(ctx, b.id, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Zero(t, b.presented.Load())
}
