package connect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"
)

// labels stands in for the keys, which every process of TestKilledBetweenStatements has.
type labels struct{}

func label(b seal.Binding) string {
	return fmt.Sprintf("%s %s %s %d:", b.Tenant, b.Connection, b.Field, b.Generation)
}

func (labels) Seal(b seal.Binding, s perennial.Secret) ([]byte, error) {
	return []byte(label(b) + s.Reveal()), nil
}

func (labels) Open(b seal.Binding, sealed []byte) (perennial.Secret, error) {
	if at := label(b); len(sealed) >= len(at) && string(sealed[:len(at)]) == at {
		return perennial.NewSecret(string(sealed[len(at):])), nil
	}
	return perennial.Secret{}, errors.New("sealed for something else")
}

type silent struct{}

func (silent) Signal(context.Context, perennial.Connection, string) error { return nil }

const (
	boundBrowser  = "browser"
	boundVerifier = "verifier"
)

// boundSessions returns the sessions of one app on a database.
func boundSessions(d *db.DB) *Sessions {
	entry, _ := provider.Lookup("generic")
	entry.TokenURL = "https://provider.example/token"
	app := provider.App{Name: "app", Provider: entry, ClientID: "client"}
	service := New(Config{Store: store.New(d), Apps: oneApp{app}, Sealer: labels{}, Workflows: silent{}})
	return &Sessions{SessionsConfig{Service: service, Store: NewSessionStore(d)}}
}

// awaiting returns a bound session whose consent has been given.
func awaiting(t *testing.T, s *Sessions) perennial.ConnectSession {
	t.Helper()
	ctx := t.Context()
	c, err := s.Store.Add(ctx, perennial.ConnectSession{ID: "cs_1", TenantID: "t", App: "app", Mode: perennial.ConnectPage, LinkDigest: "l",
		ReturnURL: "https://product.example/", Challenge: Challenge(perennial.NewSecret(boundVerifier))}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, s.Store.Start(ctx, c.ID, 0, requestOf(c, newToken(statePrefix(c)), perennial.NewSecret(boundBrowser), nil)))
	require.NoError(t, s.Store.ConsumeState(ctx, c.ID, 1))
	c, now, err := s.Store.ByID(ctx, c.ID)
	require.NoError(t, err)
	c.ReplyAt = now
	k := pendingReply{TokenSet: perennial.TokenSet{AccessToken: perennial.NewSecret("access"), RefreshToken: perennial.NewSecret("refresh"), ExpiresIn: time.Hour}}
	c, err = s.awaitFinish(ctx, c, k, provider.Account{ID: "account"}, "account")
	require.NoError(t, err)
	require.Equal(t, perennial.ConnectAwaitingFinish, c.Outcome)
	return c
}

func finished(ctx context.Context, s *Sessions, id string) (perennial.ConnectSession, error) {
	return s.FinishBound(ctx, perennial.WorkerAccess(), FinishRequest{ID: id, Code: finishCode(id, 1, perennial.NewSecret(boundBrowser)), Verifier: perennial.NewSecret(boundVerifier)})
}

// TestKilledBetweenStatements: a server that dies anywhere between the reply and the end
// of a finish leaves either nothing or the whole connection with its event. The product
// asks again each time.
func TestKilledBetweenStatements(t *testing.T) {
	t.Parallel()
	dbtest.Killed(t, dbtest.Change{
		State: []string{"SELECT account_id, generation, status FROM connections", "SELECT type FROM outbox"},
		Prepare: func(t *testing.T, d *dbtest.Database) {
			awaiting(t, boundSessions(d.DB))
		},
		Do: func(ctx context.Context, d *db.DB) error {
			s := boundSessions(d)
			// The lease of the process that was killed before ends.
			err := d.Durably(ctx, "end the lease", func(tx *gorm.DB) error {
				return tx.Exec("UPDATE connect_sessions SET lease_until = NULL WHERE outcome = 'unfinished'").Error
			})
			if err != nil {
				return err
			}
			c, err := finished(ctx, s, "cs_1")
			if err == nil && !c.Done() {
				err = fmt.Errorf("the outcome is %s", c.Outcome)
			}
			return err
		},
	})
}

// TestOlderProgramStoresNothing: a server of an older version, beside this one during a
// deploy, knows no challenge. It must not store the grant of a bound session.
func TestOlderProgramStoresNothing(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		s := boundSessions(d.DB)
		c := awaiting(t, s)
		stored, _, err := s.Store.ByID(t.Context(), c.ID)
		require.NoError(t, err)
		shareable := stored
		shareable.Challenge = "" // as a program that does not know the column, or somebody who empties it
		_, err = s.opened(shareable)
		require.Error(t, err)
		_, err = s.opened(stored)
		require.NoError(t, err)

		state := newToken(statePrefix(c))
		assert.NotEqual(t, state.Digest(), requestOf(c, state, perennial.Secret{}, nil).StateDigest, "it looks for the plain digest")
		assert.NotRegexp(t, `^cl_`, newToken(linkPrefix(c)).Reveal(), "the only links that it looks up")
		plain := newToken(statePrefix(shareable))
		assert.Equal(t, plain.Digest(), requestOf(shareable, plain, perennial.Secret{}, nil).StateDigest, "shareable sessions are as ever")
	})
}

// TestFinishStore is the contract of the store's statements for bound sessions, on every
// kind of database.
func TestFinishStore(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		s := boundSessions(d.DB)
		ctx := t.Context()
		c := awaiting(t, s)
		b := s.Store
		conflicts(t, b.Start(ctx, c.ID, c.Starts, request{}))
		_, err := b.Lease(ctx, c.ID, time.Minute)
		conflicts(t, err)
		_, err = b.AskFinish(ctx, c.ID, c.Starts+1, time.Minute)
		conflicts(t, err)
		for range 2 {
			require.NoError(t, b.NoteFinishTry(ctx, c.ID, c.Starts, 3))
			unfinished, err := b.Unfinished(ctx, 10)
			require.NoError(t, err)
			require.Empty(t, unfinished)
		}
		require.NoError(t, b.NoteFinishTry(ctx, c.ID, c.Starts, 3))
		unfinished, err := b.Unfinished(ctx, 10)
		require.NoError(t, err)
		require.Len(t, unfinished, 1, "the wait is over")
		require.Equal(t, []any{3, "account"}, []any{unfinished[0].FinishTries, unfinished[0].AccountID})
		_, err = b.AskFinish(ctx, c.ID, c.Starts, time.Minute)
		conflicts(t, err)

		require.NoError(t, b.AwaitFinish(ctx, c, c.ReplySealed, "account", time.Minute))
		got, err := b.AskFinish(ctx, c.ID, c.Starts, time.Minute)
		require.NoError(t, err)
		require.Equal(t, perennial.ConnectUnfinished, got.Outcome)
		require.False(t, got.FinishAskedAt.IsZero())
		_, err = b.AskFinish(ctx, c.ID, c.Starts, time.Minute)
		conflicts(t, err)
		conflicts(t, b.NoteFinishTry(ctx, c.ID, c.Starts, 3))
		conflicts(t, b.AwaitFinish(ctx, c, nil, "account", time.Minute))

		got.Revocation = perennial.RevocationUnsupported
		require.NoError(t, b.Finish(ctx, got, perennial.ConnectNotFinished, nil, ""))
		listed, err := b.Unrevoked(ctx, 10)
		require.NoError(t, err)
		require.Len(t, listed, 1)
	})
}
