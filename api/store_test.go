package api_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/dbtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestStores is the contract of the stores, which every kind of database must pass.
func TestStores(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T, *rows){
		"api keys": testKeys, "api keys: use is noted once an hour": testTouchKey, "api keys: what an older program must not take for more": testLimitedKeys,
		"idempotency: one is the first": testRequests, "idempotency: kept for a day": testRequestsKept,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d *dbtest.Database) {
				test(t, &rows{d, api.NewKeyStore(d.DB), api.NewRequestStore(d.DB)})
			})
		})
	}
}

type rows struct {
	*dbtest.Database
	keys     *api.KeyStore
	requests *api.RequestStore
}

func requireCode(t *testing.T, want perennial.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, perennial.CodeOf(err), "%v", err)
}

func (b *rows) key(t *testing.T, id, tenant string) perennial.APIKey {
	t.Helper()
	k, err := b.keys.Add(t.Context(), perennial.CommandLineAccess(), perennial.APIKey{ID: id, TenantID: tenant, Name: "of " + tenant, SecretHash: []byte{0, 1, 255},
		Scopes: []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeAdmin}})
	require.NoError(t, err)
	return k
}

func testKeys(t *testing.T, b *rows) {
	one, two := b.key(t, "one", "acme"), b.key(t, "two", "other")
	require.NotZero(t, one.CreatedAt)
	require.Zero(t, one.LastUsedAt)
	got, err := b.keys.Get(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, one, got)
	require.Equal(t, []byte{0, 1, 255}, got.SecretHash)
	all, err := b.keys.List(t.Context(), perennial.CommandLineAccess())
	require.NoError(t, err)
	require.Equal(t, []perennial.APIKey{one, two}, all)
	own, err := b.keys.List(t.Context(), accesstest.Of(t, "other"))
	require.NoError(t, err)
	require.Equal(t, []perennial.APIKey{two}, own)

	require.NoError(t, b.keys.Revoke(t.Context(), perennial.CommandLineAccess(), "one"))
	revoked, err := b.keys.Get(t.Context(), "one")
	require.NoError(t, err)
	require.NotZero(t, revoked.RevokedAt)
	require.NoError(t, b.keys.Revoke(t.Context(), perennial.CommandLineAccess(), "one"))
	again, err := b.keys.Get(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, revoked, again, "revoked once")
	requireCode(t, perennial.CodeNotFound, b.keys.Revoke(t.Context(), perennial.CommandLineAccess(), "nothing"))
	_, err = b.keys.Get(t.Context(), "nothing")
	requireCode(t, perennial.CodeNotFound, err)

	_, err = b.keys.Add(t.Context(), perennial.CommandLineAccess(), perennial.APIKey{ID: "one", TenantID: "acme", Scopes: perennial.Scopes, SecretHash: []byte("x")})
	require.Error(t, err, "an id is given once")
	for _, bad := range []perennial.APIKey{
		{TenantID: "acme", Scopes: perennial.Scopes, SecretHash: []byte("x")}, {ID: "k", Scopes: perennial.Scopes, SecretHash: []byte("x")},
		{ID: "k", TenantID: "acme", SecretHash: []byte("x")}, {ID: "k", TenantID: "acme", Scopes: perennial.Scopes},
	} {
		_, err = b.keys.Add(t.Context(), perennial.CommandLineAccess(), bad)
		requireCode(t, perennial.CodeInvalid, err)
	}
}

// testLimitedKeys: a key of every tenant, of some apps or with an end comes back whole, and
// a program that does not know these columns finds no hash that it could match.
func testLimitedKeys(t *testing.T, b *rows) {
	ends := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	plain := perennial.APIKey{TenantID: "acme", Scopes: perennial.Scopes, SecretHash: []byte{0, 1, 255}}
	b.key(t, "plain", "acme")
	for id, change := range map[string]func(*perennial.APIKey){
		"every": func(k *perennial.APIKey) { k.TenantID, k.EveryTenant = "", true },
		"apps":  func(k *perennial.APIKey) { k.Apps = []string{"crm", "the, other app"} },
		"ends":  func(k *perennial.APIKey) { k.ExpiresAt = ends },
	} {
		k := plain
		k.ID = id
		change(&k)
		made, err := b.keys.Add(t.Context(), perennial.CommandLineAccess(), k)
		require.NoError(t, err)
		read, err := b.keys.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, made, read)
		k.CreatedAt = read.CreatedAt
		require.Equal(t, k, read)
	}
	var hidden []string
	require.NoError(t, b.DB.With(t.Context()).Raw("SELECT id FROM api_keys WHERE length(secret_hash) = 0 ORDER BY id").Scan(&hidden).Error)
	require.Equal(t, []string{"apps", "ends", "every"}, hidden)
	own, err := b.keys.List(t.Context(), accesstest.Of(t, "*"))
	require.NoError(t, err)
	require.Empty(t, own, "no tenant sees a key of every tenant, whatever its name")
	requireCode(t, perennial.CodeNotFound, b.keys.Revoke(t.Context(), accesstest.Of(t, "*"), "every"))

	_, err = b.keys.Add(t.Context(), perennial.CommandLineAccess(), perennial.APIKey{ID: "both", TenantID: "acme", EveryTenant: true, Scopes: perennial.Scopes, SecretHash: []byte("x")})
	requireCode(t, perennial.CodeInvalid, err)
	reader := accesstest.Of(t, "acme", perennial.ScopeTokensRead)
	for name, change := range map[string]func(*perennial.APIKey){
		"another tenant": func(k *perennial.APIKey) { k.TenantID = "other" },
		"every tenant":   func(k *perennial.APIKey) { k.TenantID, k.EveryTenant = "", true },
		"more rights":    func(k *perennial.APIKey) { k.Scopes = []perennial.Scope{perennial.ScopeAdmin} },
	} {
		k := perennial.APIKey{ID: "more", TenantID: "acme", Scopes: []perennial.Scope{perennial.ScopeTokensRead}, SecretHash: []byte("x")}
		change(&k)
		_, err := b.keys.Add(t.Context(), reader, k)
		require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err), name)
	}
}

func testTouchKey(t *testing.T, b *rows) {
	b.key(t, "one", "acme")
	used := func() time.Time {
		k, err := b.keys.Get(t.Context(), "one")
		require.NoError(t, err)
		return k.LastUsedAt
	}
	require.NoError(t, b.keys.Touch(t.Context(), "one"))
	require.NotZero(t, used())
	b.Exec(t, "UPDATE api_keys SET last_used_at = '2199-01-02 03:04:05+00:00'")
	require.NoError(t, b.keys.Touch(t.Context(), "one"))
	require.Equal(t, 2199, used().Year())
	b.Exec(t, "UPDATE api_keys SET last_used_at = '2020-01-02 03:04:05+00:00'")
	require.NoError(t, b.keys.Touch(t.Context(), "one"))
	require.NotEqual(t, 2020, used().Year())
	require.NoError(t, b.keys.Touch(t.Context(), "nothing"))
}

func testRequests(t *testing.T, b *rows) {
	request := api.IdempotentRequest{APIKeyID: "one", KeyHash: "hash", Fingerprint: "print"}
	var first atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, yes, err := b.requests.Begin(t.Context(), request)
			assert.NoError(t, err)
			if yes {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, first.Load())
	other := request
	other.APIKeyID = "two"
	_, yes, err := b.requests.Begin(t.Context(), other)
	require.NoError(t, err)
	require.True(t, yes, "each API key has its own")

	done := request
	done.Status, done.Answer = 200, `{"id":"con_1"}`
	require.NoError(t, b.requests.End(t.Context(), done))
	require.NoError(t, b.requests.Forget(t.Context(), request), "one that ended is not forgotten")
	earlier, yes, err := b.requests.Begin(t.Context(), request)
	require.NoError(t, err)
	require.False(t, yes)
	require.WithinDuration(t, earlier.Now, earlier.CreatedAt, time.Minute)
	done.CreatedAt, done.Now = earlier.CreatedAt, earlier.Now
	require.Equal(t, done, earlier)

	require.NoError(t, b.requests.Forget(t.Context(), other))
	_, yes, err = b.requests.Begin(t.Context(), other)
	require.NoError(t, err)
	require.True(t, yes, "it was given back")
	requireCode(t, perennial.CodeInvalid, b.requests.End(t.Context(), other))
}

func testRequestsKept(t *testing.T, b *rows) {
	for _, hash := range []string{"old", "new", "older"} {
		_, first, err := b.requests.Begin(t.Context(), api.IdempotentRequest{APIKeyID: "one", KeyHash: hash, Fingerprint: "print"})
		require.NoError(t, err)
		require.True(t, first)
	}
	b.Exec(t, "UPDATE idempotency_keys SET created_at = '2020-01-02 03:04:05+00:00' WHERE key_hash <> 'new'")
	_, first, err := b.requests.Begin(t.Context(), api.IdempotentRequest{APIKeyID: "one", KeyHash: "old", Fingerprint: "another"})
	require.NoError(t, err)
	require.True(t, first, "after a day it is as new")
	n, err := b.requests.Prune(t.Context(), 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Equal(t, 2, b.Number(t, "SELECT count(*) FROM idempotency_keys"))
}
