package connect

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oneApp is the only app of a test.
type oneApp struct{ app provider.App }

func (a oneApp) App(string) (provider.App, error) { return a.app, nil }

// agreeable is a provider that says yes to every revocation.
type agreeable struct{ asked int }

func (a *agreeable) Revoke(context.Context, provider.App, perennial.Secret) error {
	a.asked++
	return nil
}

// deafWorkflows takes every signal.
type deafWorkflows struct{}

func (deafWorkflows) Signal(context.Context, perennial.Connection, string) error { return nil }

// TestDisconnectBesideARefresh: a provider says yes to the revocation of a token that it
// no longer knows. The disconnect claims no more than is known.
func TestDisconnectBesideARefresh(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class   perennial.ReplayClass
		claimed bool
		other   string // the account of another tenant's connection
		want    perennial.Revocation
		asked   int
	}{
		"nothing under way":              {perennial.ReplaySingleUse, false, "", perennial.RevocationDone, 1},
		"a refresh is under way":         {perennial.ReplaySingleUse, true, "", perennial.RevocationFailed, 1},
		"a refresh that spends no token": {perennial.ReplayReusable, true, "", perennial.RevocationDone, 1},
		"another tenant has the account": {perennial.ReplaySingleUse, false, "a", perennial.RevocationFailed, 0},
		"another tenant has another one": {perennial.ReplaySingleUse, false, "b", perennial.RevocationDone, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "end.db"))
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, rows.Close()) })
			_, _, err = rows.Migrate(t.Context())
			require.NoError(t, err)
			keys, err := seal.NewEphemeral()
			require.NoError(t, err)
			app := provider.App{Name: "app", Provider: provider.Entry{Name: "p", ReplayClass: c.class, RevokeURL: "https://p.example/revoke"}}
			con := perennial.Connection{ID: "con_1", TenantID: "t", App: "app", Provider: "p", AccountID: "a"}
			w, err := refresh.Tokens(keys, app, con, 1, perennial.TokenSet{AccessToken: perennial.NewSecret("a"), ExpiresIn: time.Hour}, perennial.NewSecret("r"), time.Now())
			require.NoError(t, err)
			_, err = rows.Insert(t.Context(), perennial.WorkerAccess(), con, w)
			require.NoError(t, err)
			if c.other != "" {
				theirs := perennial.Connection{ID: "con_2", TenantID: "t2", App: "app", Provider: "p", AccountID: c.other}
				w, err := refresh.Tokens(keys, app, theirs, 1, perennial.TokenSet{AccessToken: perennial.NewSecret("a2"), ExpiresIn: time.Hour}, perennial.NewSecret("r2"), time.Now())
				require.NoError(t, err)
				_, err = rows.Insert(t.Context(), perennial.WorkerAccess(), theirs, w)
				require.NoError(t, err)
			}
			if c.claimed {
				claim, err := rows.Claim(t.Context(), store.ClaimRequest{ID: "con_1", Generation: 1, Trigger: perennial.TriggerTimer, AttemptID: "at_1", Lease: time.Minute})
				require.NoError(t, err)
				require.Equal(t, store.VerdictClaimed, claim.Verdict)
			}
			provider := &agreeable{}
			ender := &Disconnector{Service: New(Config{Store: rows, Apps: oneApp{app}, Sealer: keys, Workflows: deafWorkflows{}}), Keys: keys, Provider: provider}
			got, revocation, err := ender.Disconnect(t.Context(), perennial.WorkerAccess(), "con_1")
			require.NoError(t, err)
			assert.Equal(t, perennial.StatusDisconnected, got.Status)
			assert.Equal(t, c.want, revocation)
			assert.Equal(t, c.asked, provider.asked)
		})
	}
}
