package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
)

// connectSession returns a session that expires in an hour.
func (b *bundle) connectSession(t *testing.T, id string) perennial.ConnectSession {
	t.Helper()
	s, err := b.AddSession(t.Context(), perennial.ConnectSession{ID: id, TenantID: "t1", TenantTitle: "Jane's", App: "app", ConnectionID: "con_1", Host: "h", ReturnURL: "https://x.example/",
		Mode: perennial.ConnectPopup, Scopes: []string{"a", "b"}, LinkDigest: "link " + id}, time.Hour)
	require.NoError(t, err)
	return s
}

func (b *bundle) sessionNow(t *testing.T, id string) perennial.ConnectSession {
	t.Helper()
	s, _, err := b.SessionByID(t.Context(), id)
	require.NoError(t, err)
	return s
}

func conflicts(t *testing.T, err error) {
	t.Helper()
	require.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), "%v", err)
}

// testSession takes a session through all its steps, and checks what each step refuses.
func testSession(t *testing.T, b *bundle) {
	ctx := t.Context()
	s := b.connectSession(t, "cs_1")
	require.Equal(t, time.Hour, s.ExpiresAt.Sub(s.CreatedAt))
	read, now, err := b.SessionByLink(ctx, "link cs_1")
	require.NoError(t, err)
	require.Equal(t, s, read)
	require.True(t, s.Open(now))
	for _, digest := range []string{"", "link cs_2"} {
		_, _, err = b.SessionByLink(ctx, digest)
		require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
		_, _, err = b.SessionByState(ctx, digest)
		require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err))
	}

	require.NoError(t, b.StartSession(ctx, s.ID, 0, "state 1", "browser 1", []byte("verifier 1")))
	conflicts(t, b.StartSession(ctx, s.ID, 0, "state x", "browser x", nil))
	require.NoError(t, b.StartSession(ctx, s.ID, 1, "state 2", "browser 2", []byte("verifier 2")))
	_, _, err = b.SessionByState(ctx, "state 1")
	require.Equal(t, perennial.CodeNotFound, perennial.CodeOf(err), "the older request has ended")
	read, _, err = b.SessionByState(ctx, "state 2")
	require.NoError(t, err)
	require.Equal(t, []any{int64(2), "browser 2", []byte("verifier 2")}, []any{read.Starts, read.BrowserDigest, read.VerifierSealed})
	digests, err := b.SessionDigests(ctx)
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
	conflicts(t, b.StartSession(ctx, s.ID, 2, "state 3", "browser 3", nil)) // over a stored reply

	_, err = b.LeaseSession(ctx, s.ID, time.Minute)
	conflicts(t, err)
	unfinished, err := b.UnfinishedSessions(ctx, 10)
	require.NoError(t, err)
	require.Empty(t, unfinished, "somebody is at it")
	require.NoError(t, b.ReleaseSession(ctx, s.ID, 2, 0))
	unfinished, err = b.UnfinishedSessions(ctx, 10)
	require.NoError(t, err)
	require.Len(t, unfinished, 1)
	read, err = b.LeaseSession(ctx, s.ID, time.Minute)
	require.NoError(t, err)
	require.Equal(t, 2, read.Tries)

	conflicts(t, b.FinishSession(ctx, s.ID, 1, perennial.ConnectDenied, nil, ""))
	require.NoError(t, b.FinishSession(ctx, s.ID, 2, perennial.ConnectScopesMissing, []string{"a", "b"}, ""))
	read = b.sessionNow(t, s.ID)
	require.Equal(t, []any{perennial.ConnectScopesMissing, []string{"a", "b"}, 0}, []any{read.Outcome, read.Missing, len(read.ReplySealed)})
	require.NoError(t, b.StartSession(ctx, s.ID, 2, "state 3", "browser 3", nil), "again")
	require.NoError(t, b.FinishSession(ctx, s.ID, 3, perennial.ConnectConnected, nil, "con_1"))
	conflicts(t, b.FinishSession(ctx, s.ID, 3, perennial.ConnectDenied, nil, ""))
	conflicts(t, b.StartSession(ctx, s.ID, 3, "state 4", "browser 4", nil))
	require.Equal(t, "con_1", b.sessionNow(t, s.ID).ResultID)
}

func testSessionExpires(t *testing.T, b *bundle) {
	ctx := t.Context()
	s, err := b.AddSession(ctx, perennial.ConnectSession{ID: "cs_1", TenantID: "t", App: "app", Mode: perennial.ConnectPage, LinkDigest: "l"}, 2*time.Second)
	require.NoError(t, err)
	require.NoError(t, b.StartSession(ctx, s.ID, 0, "state", "browser", nil))
	b.until(t, s.ExpiresAt.Add(2*time.Millisecond))
	conflicts(t, b.StartSession(ctx, s.ID, 1, "state 2", "browser", nil))
	conflicts(t, b.ConsumeState(ctx, s.ID, 1))
	kept := b.connectSession(t, "cs_2")
	n, err := b.PruneSessions(ctx, time.Hour, 10)
	require.NoError(t, err)
	require.Zero(t, n, "it is kept for a while")
	n, err = b.PruneSessions(ctx, 0, 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	b.sessionNow(t, kept.ID)
}

// testSessionAtOnce: if many answer one state, or lease one reply, exactly one
// succeeds.
func testSessionAtOnce(t *testing.T, b *bundle) {
	ctx := t.Context()
	s := b.connectSession(t, "cs_1")
	require.NoError(t, b.StartSession(ctx, s.ID, 0, "state", "browser", nil))
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
	once(func() error { _, err := b.LeaseSession(ctx, s.ID, time.Minute); return err })
}

func testAccountInUse(t *testing.T, b *bundle) {
	c := b.connect(t)
	used := func(app, account string) bool {
		out, err := b.AccountInUse(t.Context(), app, account)
		require.NoError(t, err)
		return out
	}
	require.True(t, used(c.App, c.AccountID))
	require.False(t, used(c.App, "another"))
	require.False(t, used("another", c.AccountID))
	_, err := b.SetStatus(t.Context(), c.ID, []perennial.Status{perennial.StatusActive}, c.Generation, perennial.StatusPaused, "")
	require.NoError(t, err)
	require.True(t, used(c.App, c.AccountID))
	_, err = b.SetStatus(t.Context(), c.ID, []perennial.Status{perennial.StatusPaused}, c.Generation, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	require.NoError(t, err)
	require.False(t, used(c.App, c.AccountID))
}
