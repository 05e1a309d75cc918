package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/require"
)

// lease is so long that no attempt of a test ends by itself.
const lease = 5 * time.Minute

// contract runs the contract of [store.Store], which every kind of database must pass.
// database returns the URL of a new empty database.
func contract(t *testing.T, database func(testing.TB) string) {
	for name, test := range map[string]func(*testing.T, *bundle){
		"a connection comes back as it was written":       testRoundTrip,
		"an account is found: live before disconnected":   testFindByAccount,
		"one live connection per account":                 testOneLive,
		"two connects of one account at once":             testTwoConnects,
		"a new grant clears the old one's clocks":         testReplaceTokens,
		"a new grant is guarded":                          testReplaceGuards,
		"a status is guarded and disconnecting wipes":     testSetStatus,
		"lists and counts":                                testList,
		"an access reaches what it names alone":           testAccess,
		"cadence":                                         testCadence,
		"use is noted once an hour":                       testTouchUsed,
		"what handing out a token needs":                  testForUse,
		"a 401 is noted once a second":                    testTouchUnauthorized,
		"since when a reconnect is needed":                testReconnectSince,
		"a missing row":                                   testMissing,
		"errors carry no values":                          testErrorsCarryNoValues,
		"a column that a newer program adds":              testNewerColumn,
		"claim: idempotent, busy, already fresh":          testClaim,
		"claim: the statuses":                             testClaimStatuses,
		"claim: waits":                                    testClaimWaits,
		"claim: a lost attempt is unknown":                testClaimLost,
		"claim: a lost attempt that was never sent":       testClaimLostUnsent,
		"claim: after a grace window":                     testClaimAfterGrace,
		"claim: the database went backwards":              testRolledBack,
		"claim: a floor is bounded":                       testFloor,
		"claim: bad requests":                             testClaimInvalid,
		"forced: a loop":                                  testForcedLoop,
		"forced: what ends the count":                     testForcedEnds,
		"forced: one that failed":                         testForcedFailed,
		"forced: odd numbers in the row":                  testForcedOdd,
		"forced: takes no slot":                           testForcedSlot,
		"sending mark is guarded":                         testMarkSending,
		"save: tokens, clocks, ledger":                    testSave,
		"save: the old refresh token, in doubt":           testSaveAmbiguous,
		"save: guards":                                    testSaveGuards,
		"save: over a restored row":                       testSaveOverRestored,
		"save: under a floor learnt meanwhile":            testSaveUnderFloor,
		"set aside: nobody presents":                      testSetAside,
		"set aside: ends":                                 testSetAsideEnds,
		"set aside: guards":                               testSetAsideGuards,
		"spare: until the first has worked":               testSpare,
		"spare: of one refresh token only":                testNoSpare,
		"a token has one owner":                           testTokenOwner,
		"a token's owner that ended":                      testTokenOwnerLeft,
		"a token's owner, at once":                        testTokenOwnerAtOnce,
		"a grant that a newer one replaced":               testGrantReplaced,
		"kept reply: the first of a generation":           testKeptReply,
		"kept reply: nobody presents or believes":         testKeptReplyBars,
		"kept reply: bounds":                              testKeptReplyBounds,
		"save: a value that the database refuses":         testSaveRefused,
		"save: generations are bounded":                   testSaveBounded,
		"save: a harmed generation is mended":             testHarmedRow,
		"save: a late success heals":                      testLateSaveHeals,
		"save: never revives":                             testSaveNeverRevives,
		"save: repeated after a lost answer":              testSaveRepeated,
		"save: failing for a cause":                       testSaveFailing,
		"save: in one statement":                          testFastSave,
		"save: in one statement, not over others":         testFastSaveLeaves,
		"claim: in one statement":                         testFastClaim,
		"claim: in one statement, nothing but healthy":    testFastClaimLeaves,
		"gate: a slot or a turn in one statement":         testFastAdmit,
		"gate: slots and turns at once":                   testFastAdmitAtOnce,
		"close: wait, failures, health":                   testClose,
		"close: ambiguous keeps its first time":           testCloseAmbiguous,
		"close: suspect, then terminal":                   testCloseSuspect,
		"close: guards":                                   testCloseGuards,
		"canary: at the promised time":                    testPromisedProbe,
		"canary: called, and it does not come":            testCanaryStaysAway,
		"canary: nobody may go":                           testNobodyMayProbe,
		"canary: gives its probe back":                    testProbeReturned,
		"canary: of many":                                 testCanaryOfMany,
		"stop: nothing goes":                              testStop,
		"stop: started too early":                         testStartTooEarly,
		"stop: many hosts":                                testStartManyHosts,
		"stop: probe and close":                           testProbeAndClose,
		"waits: two":                                      testTwoWaits,
		"waits: nobody shortens the provider's":           testWaitsAreKept,
		"concurrent: one writer wins each generation":     testWriters,
		"concurrent: one claim holds the fence":           testClaims,
		"concurrent: a late status never beats new token": testLateStatus,
		"a second process sees the new tokens":            testSecondProcess,
		"the clock is the database's":                     testClock,
		"circuit: opens, holds, probes, closes":           testCircuit,
		"circuit: a success between":                      testCircuitSuccessBetween,
		"circuit: an outage":                              testCircuitOutage,
		"circuit: failures on record stop nobody":         testFailuresOnRecord,
		"circuit: there is always a canary":               testCanaries,
		"circuit: those that waited are let go":           testRelease,
		"circuit: a release that came too early":          testReleaseReopens,
		"circuit: failed while it closed":                 testFailedWhileClosing,
		"circuit: sick ones beside a release":             testReleaseBesideSick,
		"circuit: another trouble in a release":           testAnotherTroubleInARelease,
		"evidence: those that never worked":               testNeverWorked,
		"evidence: nobody is proven yet":                  testNobodyProven,
		"evidence: failing for long":                      testFailingForLong,
		"evidence: a share of the attempts":               testShare,
		"evidence: one tenant's own":                      testTenantsOwn,
		"evidence: rejected in numbers":                   testRejected,
		"evidence: one directory":                         testOneDirectory,
		"evidence: old failures":                          testOldFailures,
		"hold: one tenant's own":                          testHoldOfTenant,
		"hold: older refusals go through":                 testHoldSince,
		"hold: those that never worked":                   testHoldUnproven,
		"hold: ends by itself":                            testQuietHold,
		"hold: imports":                                   testImports,
		"hold: first refreshes after consent":             testConsents,
		"hold: consents that are one tenant's":            testConsentsOfTenant,
		"recovery: lets others of its kind through":       testRecovery,
		"recovery: at the share's rate":                   testRecoveryRate,
		"gate: slow down":                                 testSlowDown,
		"gate: a slow-down is not shortened":              testSlowDownIsKept,
		"gate: the share of the unproven":                 testUnprovenShare,
		"gate: slots for many processes":                  testLimitManyProcesses,
		"hold: raised, released, confirmed":               testHold,
		"hold: a spike beside a confirm":                  testHoldBesideConfirm,
		"events: one for each change":                     testEvents,
		"pace: due connections in bulk":                   testClaimDue,
		"pace: nothing but healthy":                       testClaimDueLeaves,
		"pace: shards":                                    testShards,
		"pace: the database went backwards":               testRewind,
		"pace: slots under a limit":                       testTakeSlots,
		"pace: digest":                                    testDigest,
		"sweep: what nobody looks after":                  testSweep,
		"sweep: the apps take turns":                      testSweepTurns,
		"sweep: absurd here and there":                    testAbsurdAgrees,
		"neglected: what expires first, first":            testNeglectedOrder,
		"neglected: passed over":                          testPassedOver,
		"neglected: under a limit":                        testNeglectedUnderLimit,
		"neglected: a probe that nobody makes":            testNeglectedProbe,
		"neglected: whether an attempt was closed":        testAttemptLost,
		"claim: beside Temporal":                          testClaimBeside,
		"sweep: warnings before an end":                   testWarn,
		"sweep: retention":                                testPrune,
		"attempts: by pages":                              testAttemptsAfter,
		"tombstones":                                      testTombstones,
		"installation: ids, bindings, number":             testInstallation,
		"installation: after a restore":                   testMarkRestored,
		"processes":                                       testProcesses,
		"an account in use":                               testAccountInUse,
		"client secrets: one tries, all know":             testClientSecrets,
		"an app's endpoint moves":                         testMoveHost,
		"an app's endpoint moves, circuits at both":       testMoveHostBoth,
		"client secrets: a bare 401":                      testClientSecretsBare,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, setup(t, database(t)))
		})
	}
}

type bundle struct {
	*dbtest.Database
	*store.Store
}

// setup migrates the database and opens it.
func setup(t *testing.T, url string) *bundle {
	t.Helper()
	d := dbtest.New(t, url)
	return &bundle{Database: d, Store: store.New(d.DB)}
}

// Now is the store's: both have one.
func (b *bundle) Now(ctx context.Context) (time.Time, error) { return b.Store.Now(ctx) }

// tokens returns a token set for a generation. which tells one from another.
func tokens(generation int64, which string) store.TokenWrite {
	return store.TokenWrite{
		Generation: generation,
		SealedTokens: store.SealedTokens{
			AccessTokenSealed:  []byte("sealed access " + which),
			RefreshTokenSealed: []byte("sealed refresh " + which),
			RefreshTokenDigest: digest(which),
		},

		ClientIDDigest: "client",
		Status:         perennial.StatusActive,
	}
}

func digest(which string) string { return perennial.NewSecret("refresh " + which).Digest() }

// connect creates a connection to a new account, at generation 1 with the token set
// "1".
func (b *bundle) connect(t *testing.T) perennial.Connection {
	t.Helper()
	id := uuid.NewString()
	c, err := b.Insert(t.Context(), perennial.WorkerAccess(), perennial.Connection{ID: id, TenantID: "acme", App: "hubspot", Provider: "hubspot",
		Host: "api.hubapi.com", AccountID: "account-" + id}, tokens(1, "1"))
	require.NoError(t, err)
	return c
}

// claimed claims c for a new attempt, and fails the test if it cannot.
func (b *bundle) claimed(t *testing.T, c perennial.Connection, held time.Duration, class perennial.ReplayClass) perennial.Connection {
	t.Helper()
	got := b.claim(t, c, held, class)
	require.Equal(t, store.VerdictClaimed, got.Verdict)
	return got.Connection
}

func (b *bundle) claim(t *testing.T, c perennial.Connection, held time.Duration, class perennial.ReplayClass) store.Claim {
	t.Helper()
	got, err := b.Claim(t.Context(), claimRequest(c, held, class))
	require.NoError(t, err)
	return got
}

func claimRequest(c perennial.Connection, held time.Duration, class perennial.ReplayClass) store.ClaimRequest {
	return store.ClaimRequest{ID: c.ID, Generation: c.Generation, Trigger: perennial.TriggerTimer, AttemptID: uuid.NewString(), Lease: held, Class: class}
}

// saveRequest saves the token set called which for the open attempt of c.
func saveRequest(c perennial.Connection, which string) store.SaveRequest {
	return store.SaveRequest{
		ID: c.ID, AttemptID: c.Open.ID, Generation: c.Generation, Digest: c.RefreshTokenDigest, NewGeneration: c.Generation + 1,
		SealedTokens: store.SealedTokens{AccessTokenSealed: []byte("sealed access " + which), RefreshTokenSealed: []byte("sealed refresh " + which), RefreshTokenDigest: digest(which)},
		Ledger:       ledger(c, perennial.OutcomeRefreshed), Claimed: c,
	}
}

func closeRequest(c perennial.Connection, outcome perennial.Outcome) store.CloseRequest {
	return store.CloseRequest{ID: c.ID, AttemptID: c.Open.ID, Generation: c.Generation, Digest: c.RefreshTokenDigest, Ledger: ledger(c, outcome)}
}

func ledger(c perennial.Connection, outcome perennial.Outcome) perennial.Attempt {
	return perennial.Attempt{ID: c.Open.ID, ConnectionID: c.ID, Generation: c.Generation, Trigger: perennial.TriggerTimer,
		Outcome: outcome, StartedAt: c.Open.StartedAt}
}

// row returns a connection as it is now.
func (b *bundle) row(t *testing.T, id string) perennial.Connection {
	t.Helper()
	c, _, err := b.Get(t.Context(), perennial.WorkerAccess(), id)
	require.NoError(t, err)
	return c
}

// outcomes returns those of a connection's ledger, newest first.
func (b *bundle) outcomes(t *testing.T, id string) []perennial.Outcome {
	t.Helper()
	lines, err := b.Attempts(t.Context(), perennial.WorkerAccess(), id, 100)
	require.NoError(t, err)
	var out []perennial.Outcome
	for _, a := range lines {
		out = append(out, a.Outcome)
	}
	return out
}

func requireCode(t *testing.T, want perennial.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, perennial.CodeOf(err), "%v", err)
}
