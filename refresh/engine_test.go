package refresh

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/internal/spool"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bundle is an engine over a real store. The test sets its provider's answers.
type bundle struct {
	*Engine
	url     string
	db      *store.Store
	keyring *seal.Keyring
	app     provider.App
	appErr  error
	c       perennial.Connection

	mu      sync.Mutex
	answers []provider.Reply // one per presentation; the last one repeats
	shown   []string         // presented refresh tokens
	secrets []string
	onSent  func()
}

func (b *bundle) App(string) (provider.App, error) { return b.app, b.appErr }

func (b *bundle) Refresh(ctx context.Context, _ provider.App, secret, token perennial.Secret, send func(context.Context) error) provider.Reply {
	if err := send(ctx); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnavailable, Code: "unsent"}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shown = append(b.shown, token.Reveal())
	b.secrets = append(b.secrets, secret.Reveal())
	if b.onSent != nil {
		b.onSent()
	}
	if err := ctx.Err(); err != nil {
		return provider.Reply{Outcome: perennial.OutcomeUnknown, Code: "cancelled", Sent: true}
	}
	reply := b.answers[0]
	if len(b.answers) > 1 {
		b.answers = b.answers[1:]
	}
	return reply
}

func fresh(n string) provider.Reply {
	return provider.Reply{Outcome: perennial.OutcomeRefreshed, Sent: true, HTTPStatus: 200, Tokens: perennial.TokenSet{
		AccessToken: perennial.NewSecret("access " + n), RefreshToken: perennial.NewSecret("refresh " + n), ExpiresIn: time.Hour}}
}

var refusal = provider.Reply{Outcome: perennial.OutcomeRevoked, Code: "invalid_grant", Sent: true, HTTPStatus: 400}

func setup(t testing.TB, answers ...provider.Reply) *bundle {
	t.Helper()
	return setupOn(t, "sqlite:"+filepath.Join(t.TempDir(), "engine.db"), answers...)
}

func setupOn(t testing.TB, url string, answers ...provider.Reply) *bundle {
	t.Helper()
	ctx := context.Background()
	b := &bundle{url: url, answers: answers, app: provider.App{Name: "app", ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret("s1")},
		Provider: provider.Entry{Name: "generic", ReplayClass: perennial.ReplayUnknown}, Buffer: provider.BufferQueue}}
	var err error
	b.db, err = store.Open(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.db.Close()) })
	_, _, err = b.db.Migrate(ctx)
	require.NoError(t, err)
	b.keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	b.Engine = New(Config{Store: b.db, Presenter: b, Apps: b, Sealer: b.keyring,
		Timing: timing.Config{HTTPTimeout: 2 * time.Second, SaveTimeout: 2 * time.Second, StartToClose: 5 * time.Second, AttemptDeadline: 6 * time.Second, WorkerStop: 6 * time.Second, ConfirmDelay: time.Millisecond}})
	c := perennial.Connection{ID: "con_1", TenantID: "t", App: "app", Provider: "generic", AccountID: "a"}
	first := fresh("1").Tokens
	w, err := Tokens(b.keyring, b.app, c, 1, first, first.RefreshToken, time.Now())
	require.NoError(t, err)
	b.c, err = b.db.Insert(ctx, perennial.WorkerAccess(), c, w)
	require.NoError(t, err)
	return b
}

// exec runs a statement as another program does.
func (b *bundle) exec(t *testing.T, statement string) {
	t.Helper()
	(&dbtest.Database{URL: b.url}).Exec(t, statement)
}

func (b *bundle) refresh(t testing.TB, ctx context.Context, generation int64) Result {
	t.Helper()
	res, err := b.Engine.Refresh(ctx, Request{ConnectionID: "con_1", Generation: generation, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	return res
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	for generation := int64(1); generation <= 2; generation++ {
		res := b.refresh(t, t.Context(), generation)
		require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
		assert.Equal(t, generation+1, res.Connection.Generation)
	}
	assert.Equal(t, []string{"refresh 1", "refresh 2"}, b.shown)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, b.refresh(t, t.Context(), 1).Outcome)
	c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	token, err := b.keyring.Open(seal.BindingOf(c, seal.FieldRefreshToken, 3), c.RefreshTokenSealed)
	require.NoError(t, err)
	assert.Equal(t, "refresh 3", token.Reveal())
}

func TestReplyWithoutRefreshTokenKeepsTheOld(t *testing.T) {
	t.Parallel()
	reply := fresh("2")
	reply.Tokens.RefreshToken = perennial.Secret{}
	b := setup(t, reply)
	b.refresh(t, t.Context(), 1)
	b.refresh(t, t.Context(), 2)
	assert.Equal(t, []string{"refresh 1", "refresh 1"}, b.shown)
}

// TestCancelledAfterSending: the caller leaves after the request is sent. The reply is
// stored.
func TestCancelledAfterSending(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	ctx, cancel := context.WithCancel(t.Context())
	b.onSent = cancel
	res := b.refresh(t, ctx, 1)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.EqualValues(t, 2, res.Connection.Generation)
}

func TestCancelledBeforeSendingSendsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	ctx, cancel := context.WithCancel(t.Context())
	b.Store = cancelAfterClaim{b.db, cancel}
	res := b.refresh(t, ctx, 1)
	assert.Equal(t, perennial.OutcomeUnavailable, res.Outcome)
	assert.Empty(t, b.shown)
	assert.True(t, res.Connection.Open.IsZero(), "the attempt is closed")
	assert.False(t, res.Connection.Ambiguous(), "proven unsent")
}

type cancelAfterClaim struct {
	Store
	cancel func()
}

func (s cancelAfterClaim) Claim(ctx context.Context, req store.ClaimRequest) (store.Claim, error) {
	defer s.cancel()
	return s.Store.Claim(ctx, req)
}

// TestStalledClaimantDoesNotSend: a claim whose answer took too long is given up, and
// nothing is sent.
func TestStalledClaimantDoesNotSend(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.Timing.HTTPTimeout = b.Timing.AttemptDeadline // as if only this time were left
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeUnavailable, res.Outcome)
	assert.Empty(t, b.shown)
}

// flakySave fails some saves. With done it first makes the save, as if only the answer
// were lost.
type flakySave struct {
	Store
	fails int
	done  bool
}

func (s *flakySave) Save(ctx context.Context, req store.SaveRequest) (store.SaveResult, error) {
	if s.fails > 0 {
		s.fails--
		if s.done {
			if _, err := s.Store.Save(ctx, req); err != nil {
				return store.SaveResult{}, err
			}
		}
		return store.SaveResult{}, errors.New("connection reset")
	}
	return s.Store.Save(ctx, req)
}

func TestSaveIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"not done": false, "done, answer lost": true} {
		b := setup(t, fresh("2"))
		b.Store = &flakySave{Store: b.db, fails: 3, done: done}
		res := b.refresh(t, t.Context(), 1)
		assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome, name)
		assert.EqualValues(t, 1, res.Connection.RefreshCount, name)
		assert.Len(t, b.shown, 1, name)
	}
}

// TestSpool: a token set that could not be stored is on disk before anything else is
// tried. Another engine stores it first. If the spool could take no more, the refresh
// stops before the token is spent.
func TestSpool(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"))
	dir := t.TempDir()
	kept, err := spool.Open(dir, 1)
	require.NoError(t, err)
	b.Spool = kept
	whole := b.Timing.SaveTimeout
	b.Timing.SaveTimeout = 200 * time.Millisecond
	b.Store = &flakySave{Store: b.db, fails: 1 << 30}
	require.NotNil(t, b.refresh(t, t.Context(), 1).Unsaved)
	holds, err := kept.Has("con_1", 1)
	require.NoError(t, err)
	require.True(t, holds)

	_, err = b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerRetry})
	assert.Error(t, err, "full, and the store is away")
	assert.Len(t, b.shown, 1, "nobody presents the token meanwhile")
	saves := b.Store.(*flakySave).fails
	assert.Error(t, b.StoreUnsaved(t.Context()))
	assert.Equal(t, 1, saves-b.Store.(*flakySave).fails, "tried once, though memory and spool have it")

	b.Store, b.Timing.SaveTimeout = b.db, whole // as after a restart of everything
	b.Spool, err = spool.Open(dir, 2)
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, b.refresh(t, t.Context(), 1).Outcome, "the kept tokens are stored first")
	holds, err = kept.Has("con_1", 1)
	require.NoError(t, err)
	assert.False(t, holds)
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
	assert.Equal(t, []string{"refresh 1", "refresh 2"}, b.shown)

	b.Store = &flakySave{Store: b.db, fails: 2}
	b.answers = []provider.Reply{fresh("4")}
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 3).Outcome)
	holds, err = kept.Has("con_1", 1)
	require.NoError(t, err)
	assert.False(t, holds, "stored after all: dropped")
}

// TestWhoHasUnsavedTokensPresentsNothing: a set may be only in memory, because the
// store is away and no spool takes it. It is stored before its connection is claimed
// again, whichever method of the engine is called.
func TestWhoHasUnsavedTokensPresentsNothing(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(*bundle) error{
		"asked with its app": func(b *bundle) error {
			_, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 1, App: "app", Trigger: perennial.TriggerRetry})
			return err
		},
		"asked without": func(b *bundle) error {
			_, err := b.Engine.Refresh(t.Context(), Request{ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerRetry})
			return err
		},
		"from time to time": func(b *bundle) error { return b.StoreUnsaved(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, fresh("2"), fresh("3"))
			b.Timing.SaveTimeout = 100 * time.Millisecond
			b.Store = &flakySave{Store: b.db, fails: 1 << 30}
			require.NotNil(t, b.refresh(t, t.Context(), 1).Unsaved)
			assert.Error(t, again(b), "the store is away")
			b.Store = b.db
			require.NoError(t, again(b))
			c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			assert.EqualValues(t, 2, c.Generation, "stored")
			assert.True(t, c.Open.IsZero())
			assert.Equal(t, []string{"refresh 1"}, b.shown)
			assert.Empty(t, b.memory.list())
			assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
		})
	}
}

// TestUnsavedTokensAreHandedOut: if the store stays away, the engine returns the tokens
// sealed, and any process can store them later, once.
func TestUnsavedTokensAreHandedOut(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.Timing.SaveTimeout = 200 * time.Millisecond
	b.Store = &flakySave{Store: b.db, fails: 1 << 30}
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeUnknown, res.Outcome)
	assert.Equal(t, CodeUnsaved, res.Code)
	require.NotNil(t, res.Unsaved)
	_, err := b.Persist(t.Context(), *res.Unsaved)
	require.Error(t, err, "still away")
	b.Store = b.db
	for range 2 {
		stored, err := b.Persist(t.Context(), *res.Unsaved)
		require.NoError(t, err)
		assert.Equal(t, perennial.OutcomeRefreshed, stored.Outcome)
		assert.EqualValues(t, 2, stored.Connection.Generation)
		assert.EqualValues(t, 1, stored.Connection.RefreshCount)
	}
	assert.Len(t, b.shown, 1)
}

func TestRefusalIsConfirmed(t *testing.T) {
	t.Parallel()
	b := setup(t, refusal)
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeRevoked, res.Outcome)
	assert.Equal(t, perennial.StatusActive, res.Connection.Status)
	assert.Equal(t, perennial.HealthHealthy, res.Connection.Health)
	res = b.confirmed(t)
	assert.Equal(t, perennial.StatusReconnectRequired, res.Connection.Status)
	assert.Equal(t, perennial.ReasonInvalidGrant, res.Connection.Reason)
	assert.Len(t, b.shown, 2)
}

// confirmed refreshes until the row has no wait.
func (b *bundle) confirmed(t *testing.T) Result {
	t.Helper()
	for {
		if res := b.refresh(t, t.Context(), 1); res.Outcome != perennial.OutcomeThrottled {
			return res
		}
	}
}

func TestFalseRefusalIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := setup(t, refusal, fresh("2"))
	b.refresh(t, t.Context(), 1)
	res := b.confirmed(t)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.False(t, res.Connection.Suspect())
}

func TestRefusalAfterAmbiguityIsOurLoss(t *testing.T) {
	t.Parallel()
	row := perennial.Connection{RefreshTokenDigest: "d", AmbiguousSince: time.Now(), AmbiguousDigest: "d", SuspectSince: time.Now(), SuspectDigest: "d"}
	assert.Equal(t, perennial.ReasonRotationLost, decide(row, provider.Entry{ReplayClass: perennial.ReplayUnknown}, refusal, time.Now(), time.Minute).Terminal)
	for _, never := range []provider.Entry{{ReplayClass: perennial.ReplayReusable}, {ReplayClass: perennial.ReplayGrace, GraceWindow: time.Minute}} {
		assert.Equal(t, perennial.ReasonInvalidGrant, decide(row, never, refusal, time.Now(), time.Minute).Terminal, "spending it does not end it")
	}
	late := provider.Entry{ReplayClass: perennial.ReplayGrace, GraceWindow: time.Minute}
	assert.Equal(t, perennial.ReasonRotationLost, decide(row, late, refusal, time.Now().Add(time.Hour), time.Minute).Terminal, "after the window as single use")
	row.AmbiguousDigest = "of an older token"
	assert.Equal(t, perennial.ReasonInvalidGrant, decide(row, provider.Entry{ReplayClass: perennial.ReplayUnknown}, refusal, time.Now(), time.Minute).Terminal)
	row.RefreshTokenExpiresAt = time.Now().Add(-time.Hour)
	assert.Equal(t, perennial.ReasonIdleExpired, decide(row, provider.Entry{ReplayClass: perennial.ReplayUnknown}, refusal, time.Now(), time.Minute).Terminal)
	row.GrantExpiresAt = time.Now().Add(-time.Hour)
	assert.Equal(t, perennial.ReasonGrantEnded, decide(row, provider.Entry{ReplayClass: perennial.ReplayUnknown}, refusal, time.Now(), time.Minute).Terminal)
}

// TestNothingButARefusalIsTerminal: no other outcome changes a connection's status,
// however often it comes.
func TestNothingButARefusalIsTerminal(t *testing.T) {
	t.Parallel()
	for _, outcome := range perennial.Outcomes {
		row := perennial.Connection{RefreshTokenDigest: "d", SuspectSince: time.Now(), SuspectDigest: "d", FailureCount: 1000}
		got := decide(row, provider.Entry{ReplayClass: perennial.ReplayUnknown}, provider.Reply{Outcome: outcome, Code: "x", Sent: true}, time.Now(), time.Minute)
		assert.Equal(t, outcome == perennial.OutcomeRevoked, got.Terminal != "", outcome)
		assert.Equal(t, outcome == perennial.OutcomeUnknown, got.Ambiguous, outcome)
	}
}

func TestReuseRevokesServesTheAccessTokenToItsEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	row := perennial.Connection{ExpiresAt: now.Add(time.Hour)}
	lost := provider.Reply{Outcome: perennial.OutcomeUnknown, Sent: true}
	assert.GreaterOrEqual(t, decide(row, provider.Entry{ReplayClass: perennial.ReplayReuseRevokes}, lost, now, time.Minute).Wait, time.Hour)
	assert.Less(t, decide(row, provider.Entry{ReplayClass: perennial.ReplaySingleUse}, lost, now, time.Minute).Wait, time.Minute)
	kills := provider.Entry{ReplayClass: perennial.ReplayReuseRevokes, RefreshKillsAccessToken: true}
	assert.Less(t, decide(row, kills, lost, now, time.Minute).Wait, time.Minute, "the refresh has ended it anyway: there is nothing to serve")
	assert.Equal(t, perennial.ReplaySingleUse, WaitingClass(kills))
}

func TestNextSecretOnlyWhereTheClientWasRejected(t *testing.T) {
	t.Parallel()
	rejected := provider.Reply{Outcome: perennial.OutcomeMisconfigured, Code: "invalid_client", Sent: true, HTTPStatus: 401}
	b := setup(t, rejected, fresh("2"))
	b.app.ClientSecrets = append(b.app.ClientSecrets, perennial.NewSecret("s2"))
	assert.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 1).Outcome)
	assert.Equal(t, []string{"s1", "s2"}, b.secrets)

	b = setup(t, refusal)
	b.app.ClientSecrets = append(b.app.ClientSecrets, perennial.NewSecret("s2"))
	b.refresh(t, t.Context(), 1)
	assert.Equal(t, []string{"s1"}, b.secrets)
}

// TestOursNotTheCustomers: with an error on our side nothing is presented, and no
// status changes.
func TestOursNotTheCustomers(t *testing.T) {
	t.Parallel()
	for code, spoil := range map[string]func(*bundle){
		"client_id_mismatch": func(b *bundle) { b.app.ClientID = "another" },
		"app_not_configured": func(b *bundle) { b.appErr = perennial.Errorf(perennial.CodeNotFound, "no app") },
		"not_opened": func(b *bundle) {
			other, err := seal.NewEphemeral()
			require.NoError(t, err)
			b.Sealer = other
		},
	} {
		b := setup(t, fresh("2"))
		spoil(b)
		res := b.refresh(t, t.Context(), 1)
		assert.Equal(t, perennial.OutcomeMisconfigured, res.Outcome, code)
		assert.Equal(t, code, res.Code)
		assert.Equal(t, perennial.StatusActive, res.Connection.Status, code)
		assert.Equal(t, perennial.HealthFailing, res.Connection.Health, code)
		assert.Empty(t, b.shown, code)
	}
}

func TestManyEnginesOneRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			res := b.refresh(t, context.Background(), 1)
			assert.Contains(t, []perennial.Outcome{perennial.OutcomeRefreshed, perennial.OutcomeBusy, perennial.OutcomeAlreadyFresh}, res.Outcome)
		})
	}
	wg.Wait()
	assert.Len(t, b.shown, 1)
}

func TestNoLifetimeIsAVisibleFault(t *testing.T) {
	t.Parallel()
	reply := fresh("2")
	reply.Tokens.ExpiresIn = 0
	b := setup(t, reply)
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.Equal(t, perennial.HealthFailing, res.Connection.Health)
	assert.Equal(t, CodeNoLifetime, res.Connection.FailingCode)
	assert.Less(t, time.Until(res.Connection.NextRefreshAt), 30*time.Minute, "never a sleep without end")
}

// TestBoundTokensAreAVisibleFault: tokens that need a proof with each request are stored,
// because the refresh token was rotated, and shown.
func TestBoundTokensAreAVisibleFault(t *testing.T) {
	t.Parallel()
	reply := fresh("2")
	reply.Tokens.TokenType = "DPoP"
	b := setup(t, reply)
	res := b.refresh(t, t.Context(), 1)
	assert.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	assert.EqualValues(t, 2, res.Connection.Generation)
	assert.Equal(t, provider.CodeBoundToken, res.Connection.FailingCode)
}

// TestKeepTriesUntilSomebodyTakesIt: without Temporal, with the store away and the
// spool full, the process keeps the only copy and goes on trying.
func TestKeepTriesUntilSomebodyTakesIt(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.Timing.SaveTimeout = 100 * time.Millisecond
	b.Store = &flakySave{Store: b.db, fails: 8}
	res := b.refresh(t, t.Context(), 1)
	require.NotNil(t, res.Unsaved)
	require.NoError(t, b.SaveLater(t.Context(), *res.Unsaved))
	c, _, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	assert.EqualValues(t, 2, c.Generation)
}

// plain does not seal.
type plain struct{}

func (plain) Seal(_ seal.Binding, s perennial.Secret) ([]byte, error) { return []byte(s.Reveal()), nil }
func (plain) Open(_ seal.Binding, b []byte) (perennial.Secret, error) {
	return perennial.NewSecret(string(b)), nil
}

// TestGraceIsTakenOver: a process that dies while it presents leaves another one time to
// present the token again within a grace window of a minute.
func TestGraceIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"))
	b.Timing = timing.Config{}.WithDefaults()
	b.app.Provider.ReplayClass, b.app.Provider.GraceWindow = perennial.ReplayGrace, time.Minute
	row, now, err := b.db.Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	claim, err := b.db.Claim(t.Context(), b.claimRequest(Request{ConnectionID: row.ID, Generation: 1, Trigger: perennial.TriggerTimer}, b.app.Provider))
	require.NoError(t, err)
	res := b.refresh(t, t.Context(), 1)
	require.Equal(t, perennial.OutcomeBusy, res.Outcome)
	assert.WithinDuration(t, now.Add(40*time.Second), res.RetryAt, time.Second)
	assert.Less(t, res.RetryAt.Sub(claim.Connection.Open.StartedAt), b.app.Provider.GraceWindow)
}

// TestReusableIsTakenOver: the attempt of a dead process bars a reusable token for one
// presentation and its save. If its process was only slow, both replies are good, and the
// later one changes nothing.
func TestReusableIsTakenOver(t *testing.T) {
	t.Parallel()
	b := setup(t, fresh("2"), fresh("3"), fresh("4"))
	b.app.Provider.ReplayClass = perennial.ReplayReusable
	whole := timing.Config{}.WithDefaults()
	b.Timing.AttemptDeadline = whole.AttemptDeadline
	b.Timing.HTTPTimeout, b.Timing.SaveTimeout = whole.HTTPTimeout, whole.SaveTimeout
	req := Request{ConnectionID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer}
	claim, err := b.db.Claim(t.Context(), b.claimRequest(req, b.app.Provider))
	require.NoError(t, err)
	res := b.refresh(t, t.Context(), 1)
	require.Equal(t, perennial.OutcomeBusy, res.Outcome)
	assert.Equal(t, 40*time.Second, res.RetryAt.Sub(claim.Connection.Open.StartedAt))

	b.exec(t, "UPDATE connections SET attempt_deadline = attempt_started_at") // its time is over
	res = b.refresh(t, t.Context(), 1)
	require.Equal(t, perennial.OutcomeRefreshed, res.Outcome)
	slow := b.newAttempt(req, claim, time.Now().Add(-time.Minute))
	slow.app = b.app
	late, err := slow.run(t.Context())
	require.NoError(t, err)
	assert.Equal(t, perennial.OutcomeAlreadyFresh, late.Outcome)
	assert.Equal(t, []string{"refresh 1", "refresh 1"}, b.shown)
	require.Equal(t, perennial.OutcomeRefreshed, b.refresh(t, t.Context(), 2).Outcome)
	assert.Equal(t, []string{"refresh 1", "refresh 1", "refresh 2"}, b.shown)
}

// TestShortLeaseSendsSoon: an attempt whose claim is shorter sends within five seconds or
// not at all, so that it is over before another one begins.
func TestShortLeaseSendsSoon(t *testing.T) {
	t.Parallel()
	e := New(Config{Timing: timing.Config{}.WithDefaults()})
	for class, want := range map[perennial.ReplayClass]bool{perennial.ReplayGrace: true, perennial.ReplayUnknown: false} {
		a := &attempt{Engine: e, began: time.Now().Add(-6 * time.Second), app: provider.App{Provider: provider.Entry{ReplayClass: class, GraceWindow: time.Minute}}}
		assert.Equal(t, want, a.stalled(), class)
	}
}
