package connect

import (
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSessionStore is the contract of the store, which every kind of database must pass.
func TestSessionStore(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *sessionRows){"a life": testSession, "its end": testSessionExpires, "one of many": testSessionAtOnce} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *dbtest.Database) { test(t, &sessionRows{d, NewSessionStore(d.DB)}) })
		})
	}
}

type sessionRows struct {
	*dbtest.Database
	*SessionStore
}

// connectSession returns a session that expires in an hour.
func (b *sessionRows) connectSession(t *testing.T, id string) perennial.ConnectSession {
	t.Helper()
	s, err := b.Add(t.Context(), perennial.ConnectSession{ID: id, TenantID: "t1", TenantTitle: "Jane's", App: "app", ConnectionID: "con_1", Host: "h", ReturnURL: "https://x.example/",
		Mode: perennial.ConnectPopup, Scopes: []string{"a", "b"}, LinkDigest: "link " + id}, time.Hour)
	require.NoError(t, err)
	return s
}

func (b *sessionRows) sessionNow(t *testing.T, id string) perennial.ConnectSession {
	t.Helper()
	s, _, err := b.ByID(t.Context(), id)
	require.NoError(t, err)
	return s
}

// at returns a session at one of its requests.
func at(s perennial.ConnectSession, start int64) perennial.ConnectSession {
	s.Starts = start
	return s
}

func conflicts(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "%v", err)
}

// testSession takes a session through all its steps, and checks what each step refuses.
func testSession(t *testing.T, b *sessionRows) {
	ctx := t.Context()
	s := b.connectSession(t, "cs_1")
	require.Equal(t, time.Hour, s.ExpiresAt.Sub(s.CreatedAt))
	read, now, err := b.ByLink(ctx, "link cs_1")
	require.NoError(t, err)
	require.Equal(t, s, read)
	require.True(t, s.Open(now))
	for _, digest := range []string{"", "link cs_2"} {
		_, _, err = b.ByLink(ctx, digest)
		require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
		_, _, err = b.ByState(ctx, digest)
		require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
	}

	require.NoError(t, b.Start(ctx, s.ID, 0, request{StateDigest: "state 1", BrowserDigest: "browser 1", VerifierSealed: []byte("verifier 1")}))
	conflicts(t, b.Start(ctx, s.ID, 0, request{StateDigest: "state x", BrowserDigest: "browser x"}))
	require.NoError(t, b.Start(ctx, s.ID, 1, request{StateDigest: "state 2", BrowserDigest: "browser 2", VerifierSealed: []byte("verifier 2")}))
	_, _, err = b.ByState(ctx, "state 1")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "the older request has ended")
	read, _, err = b.ByState(ctx, "state 2")
	require.NoError(t, err)
	require.Equal(t, []any{int64(2), "browser 2", []byte("verifier 2")}, []any{read.Starts, read.BrowserDigest, read.VerifierSealed})
	digests, err := b.Digests(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"link cs_1", "state 2"}, digests)

	conflicts(t, b.SaveReply(ctx, s.ID, 2, []byte("reply"), now, time.Minute)) // before the user's answer
	conflicts(t, b.ConsumeState(ctx, s.ID, 1))
	require.NoError(t, b.ConsumeState(ctx, s.ID, 2))
	conflicts(t, b.ConsumeState(ctx, s.ID, 2))
	require.Empty(t, b.sessionNow(t, s.ID).VerifierSealed)
	conflicts(t, b.SaveReply(ctx, s.ID, 1, []byte("reply"), now, time.Minute))
	require.NoError(t, b.SaveReply(ctx, s.ID, 2, []byte("reply"), now, time.Minute))
	read = b.sessionNow(t, s.ID)
	require.Equal(t, []any{perennial.ConnectUnfinished, []byte("reply"), 1}, []any{read.Outcome, read.ReplySealed, read.Tries})
	conflicts(t, b.Start(ctx, s.ID, 2, request{StateDigest: "state 3", BrowserDigest: "browser 3"})) // over a stored reply

	_, err = b.Lease(ctx, s.ID, time.Minute)
	conflicts(t, err)
	unfinished, err := b.Unfinished(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, unfinished, "somebody is at it")
	require.NoError(t, b.Release(ctx, s.ID, 2, 0))
	unfinished, err = b.Unfinished(ctx, 10)
	require.NoError(t, err)
	require.Len(t, unfinished, 1)
	read, err = b.Lease(ctx, s.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, read.Tries)

	conflicts(t, b.Finish(ctx, at(s, 1), perennial.ConnectDenied, nil, ""))
	require.NoError(t, b.Finish(ctx, at(s, 2), perennial.ConnectScopesMissing, []string{"a", "b"}, ""))
	read = b.sessionNow(t, s.ID)
	require.Equal(t, []any{perennial.ConnectScopesMissing, []string{"a", "b"}, 0}, []any{read.Outcome, read.Missing, len(read.ReplySealed)})
	require.NoError(t, b.Start(ctx, s.ID, 2, request{StateDigest: "state 3", BrowserDigest: "browser 3"}), "again")
	require.NoError(t, b.Finish(ctx, at(s, 3), perennial.ConnectConnected, nil, "con_1"))
	conflicts(t, b.Finish(ctx, at(s, 3), perennial.ConnectDenied, nil, ""))
	conflicts(t, b.Start(ctx, s.ID, 3, request{StateDigest: "state 4", BrowserDigest: "browser 4"}))
	require.Equal(t, "con_1", b.sessionNow(t, s.ID).ResultID)
}

func testSessionExpires(t *testing.T, b *sessionRows) {
	ctx := t.Context()
	s, err := b.Add(ctx, perennial.ConnectSession{ID: "cs_1", TenantID: "t", App: "app", Mode: perennial.ConnectPage, LinkDigest: "l"}, 2*time.Second)
	require.NoError(t, err)
	require.NoError(t, b.Start(ctx, s.ID, 0, request{StateDigest: "state", BrowserDigest: "browser"}))
	b.Until(t, s.ExpiresAt.Add(2*time.Millisecond))
	conflicts(t, b.Start(ctx, s.ID, 1, request{StateDigest: "state 2", BrowserDigest: "browser"}))
	conflicts(t, b.ConsumeState(ctx, s.ID, 1))
	kept := b.connectSession(t, "cs_2")
	n, err := b.Prune(ctx, time.Hour, 10)
	require.NoError(t, err)
	require.Zero(t, n, "it is kept for a while")
	n, err = b.Prune(ctx, 0, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	b.sessionNow(t, kept.ID)
}

// testSessionAtOnce: if many answer one state, or lease one reply, exactly one
// succeeds.
func testSessionAtOnce(t *testing.T, b *sessionRows) {
	ctx := t.Context()
	s := b.connectSession(t, "cs_1")
	require.NoError(t, b.Start(ctx, s.ID, 0, request{StateDigest: "state", BrowserDigest: "browser"}))
	once := func(do func() error) {
		var wait sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range 8 {
			wait.Go(func() {
				err := do()
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won++
				} else {
					assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err))
				}
			})
		}
		wait.Wait()
		require.Equal(t, 1, won)
	}
	once(func() error { return b.ConsumeState(ctx, s.ID, 1) })
	require.NoError(t, b.SaveReply(ctx, s.ID, 1, []byte("reply"), s.CreatedAt, 0))
	once(func() error { _, err := b.Lease(ctx, s.ID, time.Minute); return err })
}
