package discovery_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/provider/discovery"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

const issuer = "https://idp.example"

// describing returns an app whose provider describes itself.
func describing(name string) provider.App {
	base, _ := provider.Lookup(provider.Generic)
	own := provider.Description{Issuer: issuer}
	return provider.App{Name: name, ClientID: "id", Provider: own.Over(base, false, func(string, string) {}), Discovery: &provider.Discovery{Base: base, Own: own}}
}

// source says what an issuer says, and counts who asks.
type source struct {
	mu    sync.Mutex
	says  discovery.Metadata
	err   error
	asked int
}

func (s *source) Read(context.Context, discovery.Source) (discovery.Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.says, s.err
}

func (s *source) set(token string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = discovery.Metadata{Issuer: issuer, TokenEndpoint: token, From: issuer + "/.well-known/x"}
	s.err = err
}

func (s *source) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// process is one process's service, over one database.
func process(t testing.TB, d *dbtest.Database, reader discovery.Reader, apps ...provider.App) (*discovery.Service, *store.Store, *connecttest.Logs) {
	rows, logs := store.New(d.Open(t)), &connecttest.Logs{}
	return discovery.New(discovery.Config{Pins: rows, Reader: reader, Apps: apps, Log: slog.New(slog.NewTextHandler(logs, nil))}), rows, logs
}

func database(t testing.TB, d *dbtest.Database) {
	rows := store.New(d.Open(t))
	_, _, err := rows.Migrate(t.Context())
	require.NoError(t, err)
}

// endpoint returns where an app's tokens would go.
func endpoint(t testing.TB, s *discovery.Service) string {
	t.Helper()
	done, err := s.Complete(describing("a"))
	require.NoError(t, err)
	return done.Provider.TokenURL
}

// due makes the next check of everything due.
func due(t testing.TB, d *dbtest.Database) {
	d.Exec(t, "UPDATE provider_metadata SET next_check_at = read_at")
}

// TestOnePin: several processes start at once, and an issuer says something else to each:
// they all use what one of them has read, and so does one that starts without a network.
func TestOnePin(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		database(t, d)
		var services []*discovery.Service
		for _, host := range []string{"one", "two", "three", "four"} {
			reader := &source{}
			reader.set("https://"+host+".example/token", nil)
			s, _, _ := process(t, d, reader, describing("a"))
			services = append(services, s)
		}
		found := make([]string, len(services))
		var all sync.WaitGroup
		for i, s := range services {
			all.Go(func() {
				if app, err := s.Complete(describing("a")); assert.NoError(t, err) {
					found[i] = app.Provider.TokenURL
				}
			})
		}
		all.Wait()
		for _, url := range found {
			assert.Equal(t, found[0], url)
		}
		offline := &source{}
		offline.set("", errors.New("away"))
		s, _, _ := process(t, d, offline, describing("a"))
		assert.Equal(t, found[0], endpoint(t, s))
		assert.Empty(t, s.Look(t.Context()))
		assert.Zero(t, offline.times(), "what is pinned is served without a question")
	})
}

// TestChangeWaits: an issuer that names another token endpoint gets no token there, in no
// process and after no restart, until an operator accepts just that change.
func TestChangeWaits(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		database(t, d)
		const old, moved = "https://idp.example/token", "https://evil.example/token"
		reader := &source{}
		reader.set(old, nil)
		s, rows, logs := process(t, d, reader, describing("a"))
		other, _, otherLogs := process(t, d, reader, describing("a"))
		require.Equal(t, old, endpoint(t, s))
		require.Equal(t, old, endpoint(t, other))

		reader.set(moved, nil)
		assert.Empty(t, s.Look(t.Context()))
		assert.Equal(t, 1, reader.times(), "no check is due")
		due(t, d)
		for range 3 {
			assert.Empty(t, s.Look(t.Context()))
			assert.Empty(t, other.Look(t.Context()))
		}
		assert.Equal(t, 2, reader.times(), "one process checks")
		due(t, d)
		assert.Empty(t, s.Look(t.Context()))
		assert.Equal(t, 3, reader.times())
		restarted, _, _ := process(t, d, reader, describing("a"))
		for _, s := range []*discovery.Service{s, other, restarted} {
			assert.Equal(t, old, endpoint(t, s))
		}
		said := logs.String() + otherLogs.String()
		assert.Equal(t, 1, strings.Count(said, "metadata have changed"), "it is logged once")
		assert.Contains(t, said, "in_use="+old+" now="+moved)

		pin, err := rows.ProviderMetadata(t.Context(), "a", issuer)
		require.NoError(t, err)
		shown, err := discovery.Show(pin)
		require.NoError(t, err)
		assert.Equal(t, []discovery.Change{{Member: "token_endpoint", From: old, To: moved}}, shown.Changes)
		assert.True(t, shown.Metadata.MovesTokens(shown.Now))
		assert.Contains(t, strings.Join(shown.Lines(), "\n"), "perennial provider accept a "+discovery.ID(pin.Changed))
		incidents, err := rows.Incidents(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []store.Incident{{App: "a", Kind: "metadata", Code: "changed"}}, incidents)

		// A third endpoint comes while the operator thinks: what he has not seen is refused.
		reader.set("https://third.example/token", nil)
		due(t, d)
		assert.Empty(t, s.Look(t.Context()))
		err = rows.AcceptProviderMetadata(t.Context(), "a", issuer, pin.Changed)
		assert.Equal(t, perennial.CodeConflict, perennial.CodeOf(err), err)
		pin, err = rows.ProviderMetadata(t.Context(), "a", issuer)
		require.NoError(t, err)
		require.NoError(t, rows.AcceptProviderMetadata(t.Context(), "a", issuer, pin.Changed))
		for _, s := range []*discovery.Service{s, other, restarted} {
			assert.Empty(t, s.Look(t.Context()))
			assert.Equal(t, "https://third.example/token", endpoint(t, s))
		}
		incidents, err = rows.Incidents(t.Context())
		require.NoError(t, err)
		assert.Empty(t, incidents)
	})
}

// TestChangeTakenBack: a change that the provider takes back waits no longer.
func TestChangeTakenBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
		database(t, d)
		reader := &source{}
		reader.set("https://idp.example/token", nil)
		s, rows, logs := process(t, d, reader, describing("a"))
		endpoint(t, s)
		for _, token := range []string{"https://idp.example/new", "https://idp.example/token"} {
			reader.set(token, nil)
			due(t, d)
			assert.Empty(t, s.Look(t.Context()))
		}
		reader.set("", errors.New("away"))
		for range 2 {
			due(t, d)
			assert.Empty(t, s.Look(t.Context()), "the pin stays in use")
		}
		pin, err := rows.ProviderMetadata(t.Context(), "a", issuer)
		require.NoError(t, err)
		assert.Equal(t, []string{"", "away"}, []string{pin.Changed, pin.Problem})
		assert.Equal(t, 1, strings.Count(logs.String(), "cannot be read at present"), "an outage is logged once")
		assert.Equal(t, "https://idp.example/token", endpoint(t, s))
	})
}

// TestFirstStartWithoutNetwork: an app that was never read cannot be used, and the error
// says why. The others go on, and it is usable as soon as its issuer answers.
func TestFirstStartWithoutNetwork(t *testing.T) {
	t.Parallel()
	d := dbtest.New(t, dbtest.SQLiteURL(t))
	database(t, d)
	reader := &source{}
	reader.set("", errors.New("it refuses connections"))
	plain := provider.App{Name: "plain", Provider: provider.Entry{TokenURL: "https://p.example/token"}}
	s, rows, _ := process(t, d, reader, describing("a"), plain)
	for range 3 {
		_, err := s.Complete(describing("a"))
		assert.Equal(t, perennial.CodeUnavailable, perennial.CodeOf(err))
		require.ErrorContains(t, err, "app a: what its provider says about itself cannot be read: it refuses connections")
	}
	assert.Equal(t, 1, reader.times(), "it is not asked again for each caller")
	done, err := s.Complete(plain)
	require.NoError(t, err)
	assert.Equal(t, plain, done)

	// Another process has reached it meanwhile.
	reader.set("https://idp.example/token", nil)
	elsewhere, _, _ := process(t, d, reader, describing("a"))
	endpoint(t, elsewhere)
	assert.Empty(t, s.Look(t.Context()))
	assert.Equal(t, "https://idp.example/token", endpoint(t, s))
	all, err := rows.AllProviderMetadata(t.Context())
	require.NoError(t, err)
	assert.Len(t, all, 1)
}

// TestNothingToDiscover: a configuration without such an app needs no service.
func TestNothingToDiscover(t *testing.T) {
	t.Parallel()
	assert.Nil(t, discovery.New(discovery.Config{Apps: []provider.App{{Name: "a"}}}))
}

// TestComplete: the metadata fill what is missing, and the app's own keys win.
func TestComplete(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	full := discovery.Metadata{Issuer: issuer, AuthorizationEndpoint: "https://idp.example/authorize", TokenEndpoint: "https://idp.example/token",
		RevocationEndpoint: "https://idp.example/revoke", IntrospectionEndpoint: "https://idp.example/introspect", IssuerSent: true, From: issuer + "/x"}
	complete := func(own provider.Description, m discovery.Metadata, scopes ...string) (provider.App, error) {
		own.Issuer = issuer
		app := describing("a")
		app.Discovery.Own, app.Scopes = own, scopes
		return discovery.Complete(app, m, false)
	}
	app, err := complete(provider.Description{}, full)
	require.NoError(t, err)
	e := app.Provider
	assert.Equal(t, []string{full.AuthorizationEndpoint, full.TokenEndpoint, full.RevocationEndpoint, full.IntrospectionEndpoint, issuer}, []string{e.AuthURL, e.TokenURL, e.RevokeURL, e.IntrospectURL, e.Issuer})
	assert.Equal(t, []any{oauth2.AuthStyleInHeader, true, true, (*provider.Discovery)(nil)}, []any{e.AuthStyle, e.IssuerSent, app.PublicOnly, app.Discovery})
	assert.Equal(t, provider.AccountSource{From: provider.AccountFromIntrospection, Name: "sub"}, e.Account)

	app, err = complete(provider.Description{}, full, "openid")
	require.NoError(t, err)
	assert.Equal(t, provider.AccountFromIDToken, app.Provider.Account.From)

	app, err = complete(provider.Description{TokenURL: "https://own.example/token", AuthURL: "https://own.example/authorize", IssuerSent: &no, Account: &provider.AccountSource{From: provider.AccountFromReply, Name: "id"}}, full)
	require.NoError(t, err)
	e = app.Provider
	assert.Equal(t, []string{"https://own.example/authorize", "https://own.example/token", "", ""}, []string{e.AuthURL, e.TokenURL, e.RevokeURL, e.IntrospectURL}, "tokens of one server must not go to another")
	assert.Equal(t, []any{false, provider.AccountFromReply}, []any{e.IssuerSent, e.Account.From})
	app, err = complete(provider.Description{RevokeURL: "https://own.example/revoke", IssuerSent: &yes, AuthStyle: "params"}, discovery.Metadata{Issuer: issuer, TokenEndpoint: full.TokenEndpoint})
	require.NoError(t, err)
	assert.Equal(t, []any{"https://own.example/revoke", true, oauth2.AuthStyleInParams}, []any{app.Provider.RevokeURL, app.Provider.IssuerSent, app.Provider.AuthStyle})

	for methods, want := range map[string]oauth2.AuthStyle{"": oauth2.AuthStyleInHeader, "client_secret_post": oauth2.AuthStyleInParams, "none": oauth2.AuthStyleInParams,
		"client_secret_post client_secret_basic": oauth2.AuthStyleInHeader, "private_key_jwt client_secret_post": oauth2.AuthStyleInParams} {
		m := full
		m.AuthMethods = strings.Fields(methods)
		app, err := complete(provider.Description{}, m)
		require.NoError(t, err)
		assert.Equal(t, want, app.Provider.AuthStyle, methods)
	}
	for says, change := range map[string]func(*discovery.Metadata){
		"takes a client only by private_key_jwt: set auth_style": func(m *discovery.Metadata) { m.AuthMethods = []string{"private_key_jwt"} },
		"takes no code challenge S256":                           func(m *discovery.Metadata) { m.ChallengeMethods = []string{"plain"} },
		"name no code_challenge_methods_supported":               func(m *discovery.Metadata) { m.Resource = "https://mcp.example" },
	} {
		m := full
		change(&m)
		_, err := complete(provider.Description{}, m)
		require.ErrorContains(t, err, says)
	}
}
