package refresh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// otherKeys makes the engine one of a process with other keys.
func (b *bundle) otherKeys(t *testing.T) {
	t.Helper()
	other, err := seal.NewEphemeral()
	require.NoError(t, err)
	b.Sealer = other
}

// lose makes the row's open attempt a lost one: another claim finds it after its
// deadline.
func (b *bundle) lose(t *testing.T) {
	t.Helper()
	for {
		claim, err := b.db.Claim(t.Context(), store.ClaimRequest{ID: "con_1", Generation: 1, AttemptID: "another", Lease: time.Minute, Trigger: perennial.TriggerTimer, Class: perennial.ReplayUnknown})
		require.NoError(t, err)
		if claim.Verdict == store.VerdictClaimed {
			return
		}
		require.Equal(t, store.VerdictBusy, claim.Verdict)
	}
}

// closed closes the row's open attempt without tokens.
func (b *bundle) closed(t *testing.T, req store.SaveRequest) {
	t.Helper()
	_, closed, err := b.db.CloseAttempt(t.Context(), store.CloseRequest{ID: req.ID, AttemptID: req.AttemptID, Generation: req.Generation, Digest: req.Digest,
		Ledger: perennial.Attempt{Outcome: perennial.OutcomeUnknown, ErrorCode: "timeout", Generation: req.Generation, StartedAt: req.Ledger.StartedAt}})
	require.NoError(t, err)
	require.True(t, closed)
}

// TestWhoseSet: which sets are the connection's, and what becomes of them, by the order
// of events. Those that are not change no row and bar nothing.
func TestWhoseSet(t *testing.T) {
	t.Parallel()
	unsealed := func(_ *testing.T, _ *bundle, r *store.SaveRequest) { r.Seal = nil }
	for name, c := range map[string]struct {
		events []func(*testing.T, *bundle, *store.SaveRequest)
		code   perennial.Code    // of the error, or
		want   perennial.Outcome // the outcome
		aside  bool              // the row is marked
	}{
		"in order":             {want: perennial.OutcomeRefreshed},
		"its attempt was lost": {events: events(lost), want: perennial.OutcomeRefreshed},
		"without its row's attempt, as after a restore": {events: events(restored), want: perennial.OutcomeRefreshed},
		"twice":                                 {events: events(stored), want: perennial.OutcomeRefreshed},
		"after the next refresh":                {events: events(stored, refreshed), want: perennial.OutcomeAlreadyFresh},
		"after a reconnect":                     {events: events(reconnected), want: perennial.OutcomeAlreadyFresh},
		"after a disconnect":                    {events: events(disconnected), want: perennial.OutcomeRefused},
		"a flipped bit in the seal":             {events: events(flipped), code: perennial.CodeInvalid},
		"the seal of another set":               {events: events(anothersSeal), code: perennial.CodeInvalid},
		"another attempt's id":                  {events: events(renamed), code: perennial.CodeInvalid},
		"of the release before":                 {events: events(unsealed), want: perennial.OutcomeRefreshed},
		"of the release before, lost":           {events: events(unsealed, lost), want: perennial.OutcomeRefreshed},
		"of the release before, renamed":        {events: events(unsealed, renamed), code: perennial.CodeInvalid},
		"of the release before, no attempt":     {events: events(unsealed, unnamed), code: perennial.CodeInvalid},
		"of the release before, closed":         {events: events(unsealed, closed), code: perennial.CodeInvalid},
		"of the release before, another digest": {events: events(unsealed, misdigested), code: perennial.CodeInvalid},
		"of the release before, twice":          {events: events(unsealed, stored), want: perennial.OutcomeAlreadyFresh},
		"of the release before, too late":       {events: events(unsealed, disconnected), want: perennial.OutcomeRefused},
		"no keys":                               {events: events(keyless), code: perennial.CodeSealed, aside: true},
		"no keys, lost":                         {events: events(lost, keyless), code: perennial.CodeSealed, aside: true},
		"no keys, unsealed":                     {events: events(unsealed, keyless), code: perennial.CodeSealed, aside: true},
		"no keys, renamed":                      {events: events(keyless, renamed), code: perennial.CodeInvalid},
		"no keys, closed":                       {events: events(closed, keyless), code: perennial.CodeInvalid},
		"no keys, another digest":               {events: events(keyless, misdigested), code: perennial.CodeInvalid},
		"no keys, garbage":                      {events: events(keyless, garbled), code: perennial.CodeInvalid},
		"no keys, after the next":               {events: events(stored, refreshed, keyless), want: perennial.OutcomeAlreadyFresh},
		"no keys, after a reconnect":            {events: events(reconnected, keyless), want: perennial.OutcomeAlreadyFresh},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"), fresh("3"))
			other := b.other(t)
			req := b.unsaved(t)
			for _, event := range c.events {
				event(t, b, &req)
			}
			before, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			res, err := b.Persist(t.Context(), req)
			after, _, getErr := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, getErr)
			assert.Equal(t, c.code, perennial.CodeOf(err), "%v", err)
			assert.Equal(t, c.want, res.Outcome)
			assert.Equal(t, c.aside, after.HasSetAside())
			if c.want != perennial.OutcomeRefreshed && !c.aside {
				assert.Equal(t, before, after)
			}
			neighbour, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), other.ID)
			require.NoError(t, err)
			assert.Equal(t, other, neighbour)
		})
	}
}

type event = func(*testing.T, *bundle, *store.SaveRequest)

func events(all ...event) []event { return all }

// The events. The sender of a set causes those that change it.
var (
	lost     event = func(t *testing.T, b *bundle, _ *store.SaveRequest) { b.shortLease(t); b.lose(t) }
	closed   event = func(t *testing.T, b *bundle, r *store.SaveRequest) { b.closed(t, *r) }
	keyless  event = func(t *testing.T, b *bundle, _ *store.SaveRequest) { b.otherKeys(t) }
	restored event = func(t *testing.T, b *bundle, r *store.SaveRequest) {
		b.exec(t, "UPDATE connections SET attempt_id = '', attempt_digest = '', attempt_deadline = NULL")
	}
	stored event = func(t *testing.T, b *bundle, r *store.SaveRequest) {
		_, err := b.Persist(t.Context(), *r)
		require.NoError(t, err)
	}
	refreshed event = func(t *testing.T, b *bundle, _ *store.SaveRequest) {
		require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
	}
	reconnected event = func(t *testing.T, b *bundle, _ *store.SaveRequest) {
		w, err := Tokens(b.keyring, b.app, b.c, 2, fresh("new").Tokens, fresh("new").Tokens.RefreshToken, time.Now())
		require.NoError(t, err)
		_, err = b.db.ReplaceTokens(t.Context(), perennial.WorkerAccess(), "con_1", "", 1, w)
		require.NoError(t, err)
	}
	disconnected event = func(t *testing.T, b *bundle, _ *store.SaveRequest) {
		_, err := b.db.SetStatus(t.Context(), perennial.WorkerAccess(), "con_1", perennial.Statuses, 1, perennial.StatusDisconnected, "")
		require.NoError(t, err)
	}
	flipped event = func(_ *testing.T, _ *bundle, r *store.SaveRequest) {
		r.Seal = append([]byte(nil), r.Seal...)
		r.Seal[len(r.Seal)-1] ^= 1
	}
	anothersSeal event = func(t *testing.T, b *bundle, r *store.SaveRequest) {
		other := *r
		other.AccessTokenSealed, other.RefreshTokenSealed = []byte("x"), []byte("y")
		require.NoError(t, Authenticate(b.Sealer, b.c, &other))
		r.Seal = other.Seal
	}
	renamed     event = func(_ *testing.T, _ *bundle, r *store.SaveRequest) { r.AttemptID = "foreign" }
	unnamed     event = func(_ *testing.T, _ *bundle, r *store.SaveRequest) { r.AttemptID = "" }
	misdigested event = func(_ *testing.T, _ *bundle, r *store.SaveRequest) { r.Digest = "foreign" }
	garbled     event = func(_ *testing.T, _ *bundle, r *store.SaveRequest) { r.Seal = []byte("no seal") }
)

// shortLease ends the open attempt's lease.
func (b *bundle) shortLease(t *testing.T) {
	t.Helper()
	b.exec(t, "UPDATE connections SET attempt_deadline = '2020-01-01 00:00:00+00:00' WHERE id = 'con_1'")
}

// allWays asks for a refresh in every way, and returns the tokens that the provider
// was shown.
func (b *bundle) allWays(t *testing.T) {
	t.Helper()
	for _, req := range []Request{
		{Trigger: perennial.TriggerTimer}, {Trigger: perennial.TriggerTimer, App: "app"}, {Trigger: perennial.TriggerRequest, App: "app"},
		{Trigger: perennial.TriggerRetry}, {Trigger: perennial.TriggerKeepAlive}, {Trigger: perennial.TriggerTimer, Floor: 2, Generation: 2},
	} {
		req.ConnectionID, req.Generation = "con_1", max(req.Generation, 1)
		res, err := b.Engine.Refresh(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, perennial.OutcomeThrottled, res.Outcome)
	}
	_, err := b.beside(t, func(context.Context, string) ([]store.SaveRequest, error) { return nil, nil })
	require.NoError(t, err)
	paced, err := b.db.ClaimDue(t.Context(), store.ClaimDueRequest{Shard: store.Shard{App: "app", Of: 1}, Limit: 10, Lease: time.Minute, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	assert.Empty(t, paced.Claims)
}

// TestNobodyPresentsBesideASetAside: a process with other keys cannot store a set. From
// then on nobody presents the token before it, in no way, while the access token is
// served. When the keys are back, the set is stored and all is well.
func TestNobodyPresentsBesideASetAside(t *testing.T) {
	t.Parallel()
	for _, class := range []perennial.ReplayClass{perennial.ReplayGrace, perennial.ReplaySingleUse, perennial.ReplayReuseRevokes, perennial.ReplayUnknown} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"), fresh("3"))
			b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = class, time.Hour
			req := b.unsaved(t)
			b.Engine = New(b.Config) // another process
			b.otherKeys(t)
			_, err := b.Persist(t.Context(), req)
			require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
			for _, over := range []string{"attempt_deadline = '2020-01-01 00:00:00+00:00'", "next_refresh_at = '2020-01-01 00:00:00+00:00'", "next_attempt_at = NULL", "health = 'healthy'"} {
				b.exec(t, "UPDATE connections SET "+over)
				b.allWays(t)
			}
			assert.Len(t, b.shown, 1)
			row, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			assert.Equal(t, perennial.StatusActive, row.Status)
			_, err = b.keyring.Open(seal.BindingOf(row, seal.FieldAccessToken, 1), row.AccessTokenSealed)
			require.NoError(t, err, "the access token is served")

			b.Sealer = b.keyring
			res, err := b.Persist(t.Context(), req)
			require.NoError(t, err)
			assert.Equal(t, perennial.HealthHealthy, res.Connection.Health)
			assert.EqualValues(t, 3, res.Connection.Generation, "a workflow has seen 2")
			assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 3).Outcome)
			assert.Equal(t, []string{"refresh 1", "refresh 2"}, b.shown)
		})
	}
}

// TestReusableBesideASetAside: a token that stays good is presented.
func TestReusableBesideASetAside(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	b.app.Provider.ReplayClass = perennial.ReplayReusable
	req := b.unsaved(t)
	b.Engine = New(b.Config)
	b.otherKeys(t)
	_, err := b.Persist(t.Context(), req)
	require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
	b.Sealer = b.keyring
	b.exec(t, "UPDATE connections SET attempt_deadline = '2020-01-01 00:00:00+00:00', next_attempt_at = NULL")
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.Equal(t, []string{"refresh 1", "refresh 1"}, b.shown)
	assert.False(t, res.Connection.HasSetAside(), "the set is useless now")
	stored, err := b.Persist(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, stored.Outcome)
}

// TestSetAsideForGood: nobody ever opens the set. After the bound, the token before it
// is presented; a refusal is our loss, never the customer's.
func TestSetAsideForGood(t *testing.T) {
	t.Parallel()
	for _, class := range []perennial.ReplayClass{perennial.ReplayGrace, perennial.ReplaySingleUse, perennial.ReplayReuseRevokes, perennial.ReplayUnknown} {
		for name, end := range map[string]func(*testing.T, *bundle){
			"a day later": func(t *testing.T, b *bundle) {
				b.exec(t, "UPDATE connections SET set_aside_until = '2020-01-01 00:00:00+00:00', next_attempt_at = NULL")
			},
			"given up": func(t *testing.T, b *bundle) {
				_, err := b.db.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), "con_1")
				require.NoError(t, err)
			},
		} {
			t.Run(string(class)+" "+name, func(t *testing.T) {
				t.Parallel()
				b := setup(t, fresh("2"), refusal)
				b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = class, time.Nanosecond
				req := b.unsaved(t)
				b.Engine = New(b.Config)
				b.otherKeys(t)
				_, err := b.Persist(t.Context(), req)
				require.Equal(t, perennial.CodeSealed, perennial.CodeOf(err))
				b.Sealer = b.keyring
				b.exec(t, "UPDATE connections SET attempt_id = '', expires_at = '2020-01-01 00:00:00+00:00'")
				end(t, b)
				assert.Equal(t, perennial.OutcomeRevoked, b.refresh(t, t.Context(), 1).Outcome)
				c := b.confirmed(t).Connection
				assert.Equal(t, perennial.StatusReconnectRequired, c.Status)
				assert.Equal(t, perennial.ReasonRotationLost, c.Reason)
			})
		}
	}
}

// withoutSet is the keyring of a process that lacks the key of one set.
type withoutSet struct {
	*seal.Keyring
	set   store.SaveRequest
	other *seal.Keyring
}

func (w withoutSet) Open(b seal.Binding, sealed []byte) (perennial.Secret, error) {
	for _, part := range [][]byte{w.set.Seal, w.set.AccessTokenSealed, w.set.RefreshTokenSealed} {
		if bytes.Equal(part, sealed) {
			return w.other.Open(b, sealed)
		}
	}
	return w.Keyring.Open(b, sealed)
}

// TestSetAsideInTheSpool: a worker holds the set that it cannot open in its own spool or
// memory. The row decides what it may present: nothing, a reusable token, or the token
// before a set that was given up.
func TestSetAsideInTheSpool(t *testing.T) {
	t.Parallel()
	for _, spooled := range []bool{true, false} {
		for name, c := range map[string]struct {
			class   perennial.ReplayClass
			giveUp  bool
			outcome perennial.Outcome
		}{
			"barred":   {perennial.ReplaySingleUse, false, perennial.OutcomeThrottled},
			"reusable": {perennial.ReplayReusable, false, perennial.OutcomeRefreshed},
			"given up": {perennial.ReplaySingleUse, true, perennial.OutcomeRefreshed},
		} {
			t.Run(fmt.Sprint(name, spooled), func(t *testing.T) {
				t.Parallel()
				b := setup(t, fresh("2"), fresh("3"))
				b.app.Provider.ReplayClass = c.class
				kept, err := spool.Open(t.TempDir(), 0)
				require.NoError(t, err)
				if spooled {
					b.Spool = kept
				}
				req := b.unsaved(t)
				other, err := seal.NewEphemeral()
				require.NoError(t, err)
				b.Sealer = withoutSet{b.keyring, req, other}
				require.NoError(t, b.StoreUnsaved(t.Context()))
				if c.giveUp {
					_, err := b.db.GiveUpSetAside(t.Context(), perennial.WorkerAccess(), "con_1")
					require.NoError(t, err)
				}
				b.exec(t, "UPDATE connections SET attempt_deadline = '2020-01-01 00:00:00+00:00', next_attempt_at = NULL")
				b.Store = &markLost{Store: b.db, fails: 1}
				_, err = b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 1, App: "app", Trigger: perennial.TriggerTimer})
				require.Error(t, err, "the row does not answer whether it has the mark")
				assert.Len(t, b.shown, 1)
				res, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 1, App: "app", Trigger: perennial.TriggerTimer})
				require.NoError(t, err)
				assert.Equal(t, c.outcome, res.Outcome)
				if c.outcome == perennial.OutcomeThrottled {
					assert.Equal(t, "set_aside", res.Code)
				}
				require.NoError(t, b.StoreUnsaved(t.Context()))
				sets, _, err := kept.Count()
				require.NoError(t, err)
				assert.Equal(t, spooled && c.outcome == perennial.OutcomeThrottled, sets == 1, "a set that is useless is dropped")
			})
		}
	}
}

// TestClaimedBesideASetAside: a pacer has claimed the connection before this process
// learns that it cannot store the set in its spool.
func TestClaimedBesideASetAside(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	req := b.unsaved(t)
	other, err := seal.NewEphemeral()
	require.NoError(t, err)
	b.Sealer = withoutSet{b.keyring, req, other}
	b.shortLease(t)
	b.lose(t)
	row, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	require.Equal(t, "another", row.Open.ID)
	_, err = b.RefreshClaimed(t.Context(), store.Claim{Verdict: store.VerdictClaimed, Connection: row, Now: now}, time.Now(), time.Time{}, "")
	require.NoError(t, err)
	assert.Len(t, b.shown, 1)
	row, _, err = b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	assert.True(t, row.HasSetAside())
}

// markLost fails to mark a row.
type markLost struct {
	Store
	fails int
}

func (s *markLost) MarkSetAside(ctx context.Context, req store.SetAsideRequest) (perennial.Connection, error) {
	if s.fails > 0 {
		s.fails--
		return perennial.Connection{}, errors.New("connection reset")
	}
	return s.Store.MarkSetAside(ctx, req)
}

// TestFloorLearntMeanwhile: the workflow tells the row after a restore that generation 5
// was given out, while an attempt beside it has sent its request. The reply is sealed
// for the next number, also if another process stores it.
func TestFloorLearntMeanwhile(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]bool{"at once": false, "unsaved first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"), fresh("3"))
			b.onSent = func() {
				b.onSent = nil
				_, err := b.db.Claim(t.Context(), store.ClaimRequest{ID: "con_1", Generation: 5, AttemptID: "the workflow's", Lease: time.Minute, Trigger: perennial.TriggerTimer})
				require.NoError(t, err)
			}
			var res Result
			if later {
				req := b.unsaved(t)
				for range 2 {
					var err error
					res, err = b.Persist(t.Context(), req)
					require.NoError(t, err)
				}
			} else {
				res = b.refresh(t, t.Context(), 1)
			}
			c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			assert.EqualValues(t, 6, res.Connection.Generation)
			assert.EqualValues(t, 6, c.Generation)
			token, err := b.keyring.Open(seal.BindingOf(c, seal.FieldRefreshToken, 6), c.RefreshTokenSealed)
			require.NoError(t, err)
			assert.Equal(t, "refresh 2", token.Reveal())
			assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 6).Outcome)
			assert.Equal(t, []string{"refresh 1", "refresh 2"}, b.shown)
		})
	}
}

// TestLateSetIsRevoked: tokens that arrive after a disconnect are revoked, also those of
// the release before.
func TestLateSetIsRevoked(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{true, false} {
		b := setup(t, fresh("2"))
		revoked := &revocations{}
		b.Revoker = revoked
		req := b.unsaved(t)
		if !sealed {
			req.Seal = nil
		}
		disconnected(t, b, nil)
		_, err := b.Persist(t.Context(), req)
		require.NoError(t, err)
		assert.Equal(t, []string{"refresh 2"}, revoked.tokens)
	}
}

type revocations struct{ tokens []string }

func (r *revocations) Revoke(_ context.Context, _ provider.App, token perennial.Secret) error {
	r.tokens = append(r.tokens, token.Reveal())
	return nil
}
