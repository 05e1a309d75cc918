package conformance

import (
	"context"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/refresh"
	"github.com/perennial-oauth/perennial/refresh/timing"
	"github.com/perennial-oauth/perennial/seal"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// fleet is several engines, each with its own store handle, over one database file and
// one connection at the server.
type fleet struct {
	*server
	app     provider.App
	keyring *seal.Keyring
	stores  []*store.Store
	engines []*refresh.Engine
}

func (f *fleet) App(string) (provider.App, error) { return f.app, nil }

// newFleet stores first as con_1. The row's access token has the life that first says.
func newFleet(t *testing.T, s *server, first perennial.TokenSet, engines int, class perennial.ReplayClass, transport http.RoundTripper) *fleet {
	t.Helper()
	f := &fleet{server: s}
	f.app = provider.App{Name: "app", ClientID: "client", ClientSecrets: []perennial.Secret{perennial.NewSecret(clientSecret)},
		Provider: provider.Entry{Name: "generic", TokenURL: s.URL + "/token", RevokeURL: s.URL + "/revoke", AuthStyle: oauth2.AuthStyleInHeader, ReplayClass: class}}
	var err error
	f.keyring, err = seal.NewEphemeral()
	require.NoError(t, err)
	url := "sqlite:" + filepath.Join(t.TempDir(), "fleet.db")
	for i := range engines {
		db, err := store.Open(t.Context(), url)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, db.Close()) })
		if i == 0 {
			_, _, err = db.Migrate(t.Context())
			require.NoError(t, err)
		}
		f.stores = append(f.stores, db)
		f.engines = append(f.engines, refresh.New(refresh.Config{Store: db, Apps: f, Sealer: f.keyring,
			Presenter: provider.NewClient(provider.ClientConfig{Transport: transport}), Timing: timing.Config{ConfirmDelay: time.Millisecond}}))
	}
	c := perennial.Connection{ID: "con_1", TenantID: "t", App: "app", Provider: "generic", AccountID: "user"}
	w, err := refresh.Tokens(f.keyring, f.app, c, 1, first, first.RefreshToken, time.Now())
	require.NoError(t, err)
	_, err = f.stores[0].Insert(t.Context(), perennial.WorkerAccess(), c, w)
	require.NoError(t, err)
	s.requests.Store(0)
	return f
}

func (f *fleet) row(t *testing.T) (perennial.Connection, time.Time) {
	t.Helper()
	c, now, err := f.stores[0].Get(t.Context(), perennial.WorkerAccess(), "con_1")
	require.NoError(t, err)
	return c, now
}

// ask asks the first engine once, even if the row has a wait.
func (f *fleet) ask(t *testing.T) refresh.Result {
	t.Helper()
	c, _ := f.row(t)
	res, err := f.engines[0].Refresh(t.Context(), refresh.Request{ConnectionID: "con_1", Generation: c.Generation, Trigger: perennial.TriggerTimer})
	require.NoError(t, err)
	return res
}

// wait sleeps until the row's wait is over.
func (f *fleet) wait(t *testing.T) {
	t.Helper()
	c, now := f.row(t)
	require.Less(t, c.WaitsUntil(now).Sub(now), 30*time.Second, "too long for a test")
	time.Sleep(c.WaitsUntil(now).Sub(now) + 5*time.Millisecond)
}

func (f *fleet) token(t *testing.T, field seal.Field) perennial.Secret {
	t.Helper()
	c, _ := f.row(t)
	sealed := c.AccessTokenSealed
	if field == seal.FieldRefreshToken {
		sealed = c.RefreshTokenSealed
	}
	token, err := f.keyring.Open(seal.BindingOf(c, field, c.Generation), sealed)
	require.NoError(t, err)
	return token
}

// TestTwoEnginesOneRequestPerGeneration asks two engines, with a store handle each, at
// once for one generation after the other.
func TestTwoEnginesOneRequestPerGeneration(t *testing.T) {
	t.Parallel()
	for _, class := range []perennial.ReplayClass{perennial.ReplaySingleUse, perennial.ReplayReuseRevokes} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			f := newFleet(t, s, s.consent(t), 2, class, nil)
			for generation := int64(1); generation <= 3; generation++ {
				var mu sync.Mutex
				count := map[perennial.Outcome]int{}
				start := make(chan struct{})
				var all sync.WaitGroup
				for i := range 20 {
					all.Go(func() {
						<-start
						res, err := f.engines[i%2].Refresh(context.Background(), refresh.Request{ConnectionID: "con_1", Generation: generation, Trigger: perennial.TriggerTimer})
						if !assert.NoError(t, err) {
							return
						}
						mu.Lock()
						defer mu.Unlock()
						count[res.Outcome]++
					})
				}
				close(start)
				all.Wait()
				assert.Equal(t, 1, count[perennial.OutcomeRefreshed], "%v", count)
				assert.Equal(t, 19, count[perennial.OutcomeBusy]+count[perennial.OutcomeAlreadyFresh], "%v", count)
				assert.EqualValues(t, generation, s.requests.Load())
				c, _ := f.row(t)
				require.Equal(t, generation+1, c.Generation)
				assert.True(t, s.alive(f.token(t, seal.FieldAccessToken)), "reuse was never detected")
			}
		})
	}
}
