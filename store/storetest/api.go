package storetest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/store"
)

func (b *bundle) key(t *testing.T, id, tenant string) perennial.APIKey {
	t.Helper()
	k, err := b.AddKey(t.Context(), perennial.APIKey{ID: id, TenantID: tenant, Name: "of " + tenant, SecretHash: []byte{0, 1, 255},
		Scopes: []perennial.Scope{perennial.ScopeTokensRead, perennial.ScopeAdmin}})
	require.NoError(t, err)
	return k
}

func testKeys(t *testing.T, b *bundle) {
	one, two := b.key(t, "one", "acme"), b.key(t, "two", "other")
	require.NotZero(t, one.CreatedAt)
	require.Zero(t, one.LastUsedAt)
	got, err := b.Key(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, one, got)
	require.Equal(t, []byte{0, 1, 255}, got.SecretHash)
	all, err := b.Keys(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, []perennial.APIKey{one, two}, all)
	own, err := b.Keys(t.Context(), "other")
	require.NoError(t, err)
	require.Equal(t, []perennial.APIKey{two}, own)

	require.NoError(t, b.RevokeKey(t.Context(), "one"))
	revoked, err := b.Key(t.Context(), "one")
	require.NoError(t, err)
	require.NotZero(t, revoked.RevokedAt)
	require.NoError(t, b.RevokeKey(t.Context(), "one"))
	again, err := b.Key(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, revoked, again, "revoked once")
	requireCode(t, perennial.CodeNotFound, b.RevokeKey(t.Context(), "nothing"))
	_, err = b.Key(t.Context(), "nothing")
	requireCode(t, perennial.CodeNotFound, err)

	_, err = b.AddKey(t.Context(), perennial.APIKey{ID: "one", TenantID: "acme", Scopes: perennial.Scopes, SecretHash: []byte("x")})
	require.Error(t, err, "an id is given once")
	for _, bad := range []perennial.APIKey{
		{TenantID: "acme", Scopes: perennial.Scopes, SecretHash: []byte("x")}, {ID: "k", Scopes: perennial.Scopes, SecretHash: []byte("x")},
		{ID: "k", TenantID: "acme", SecretHash: []byte("x")}, {ID: "k", TenantID: "acme", Scopes: perennial.Scopes},
	} {
		_, err = b.AddKey(t.Context(), bad)
		requireCode(t, perennial.CodeInvalid, err)
	}
}

func testTouchKey(t *testing.T, b *bundle) {
	b.key(t, "one", "acme")
	used := func() time.Time {
		k, err := b.Key(t.Context(), "one")
		require.NoError(t, err)
		return k.LastUsedAt
	}
	require.NoError(t, b.TouchKey(t.Context(), "one"))
	require.NotZero(t, used())
	b.exec(t, "UPDATE api_keys SET last_used_at = '2199-01-02 03:04:05+00:00'")
	require.NoError(t, b.TouchKey(t.Context(), "one"))
	require.Equal(t, 2199, used().Year())
	b.exec(t, "UPDATE api_keys SET last_used_at = '2020-01-02 03:04:05+00:00'")
	require.NoError(t, b.TouchKey(t.Context(), "one"))
	require.NotEqual(t, 2020, used().Year())
	require.NoError(t, b.TouchKey(t.Context(), "nothing"))
}

func testRequests(t *testing.T, b *bundle) {
	request := store.IdempotentRequest{APIKeyID: "one", KeyHash: "hash", Fingerprint: "print"}
	var first atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, yes, err := b.BeginRequest(t.Context(), request)
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
	_, yes, err := b.BeginRequest(t.Context(), other)
	require.NoError(t, err)
	require.True(t, yes, "each API key has its own")

	done := request
	done.Status, done.Answer = 200, `{"id":"con_1"}`
	require.NoError(t, b.EndRequest(t.Context(), done))
	require.NoError(t, b.ForgetRequest(t.Context(), request), "one that ended is not forgotten")
	earlier, yes, err := b.BeginRequest(t.Context(), request)
	require.NoError(t, err)
	require.False(t, yes)
	require.WithinDuration(t, earlier.Now, earlier.CreatedAt, time.Minute)
	done.CreatedAt, done.Now = earlier.CreatedAt, earlier.Now
	require.Equal(t, done, earlier)

	require.NoError(t, b.ForgetRequest(t.Context(), other))
	_, yes, err = b.BeginRequest(t.Context(), other)
	require.NoError(t, err)
	require.True(t, yes, "it was given back")
	requireCode(t, perennial.CodeInvalid, b.EndRequest(t.Context(), other))
}

func testRequestsKept(t *testing.T, b *bundle) {
	for _, hash := range []string{"old", "new", "older"} {
		_, first, err := b.BeginRequest(t.Context(), store.IdempotentRequest{APIKeyID: "one", KeyHash: hash, Fingerprint: "print"})
		require.NoError(t, err)
		require.True(t, first)
	}
	b.exec(t, "UPDATE idempotency_keys SET created_at = '2020-01-02 03:04:05+00:00' WHERE key_hash <> 'new'")
	_, first, err := b.BeginRequest(t.Context(), store.IdempotentRequest{APIKeyID: "one", KeyHash: "old", Fingerprint: "another"})
	require.NoError(t, err)
	require.True(t, first, "after a day it is as new")
	n, err := b.PruneRequests(t.Context(), 10)
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Equal(t, 2, b.count(t, "SELECT count(*) FROM idempotency_keys"))
}

func testAttemptsAfter(t *testing.T, b *bundle) {
	c := b.connect(t)
	for range 5 {
		c = b.claimed(t, b.row(t, c.ID), lease, single)
		_, ok, err := b.CloseAttempt(t.Context(), closeRequest(c, perennial.OutcomeUnavailable))
		require.NoError(t, err)
		require.True(t, ok)
	}
	b.exec(t, "UPDATE attempts SET started_at = '2020-01-02 03:04:05+00:00'") // all have one time, so the id decides
	all, err := b.Attempts(t.Context(), c.ID, 100)
	require.NoError(t, err)
	require.Len(t, all, 5)
	var paged []perennial.Attempt
	var last perennial.Attempt
	for {
		page, err := b.AttemptsAfter(t.Context(), c.ID, last.StartedAt, last.ID, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		last = page[len(page)-1]
	}
	require.Equal(t, all, paged)
}

func testDeliveriesOf(t *testing.T, b *bundle) {
	b.endpoint(t, "own", "acme")
	b.endpoint(t, "all", "")
	b.endpoint(t, "other", "other")
	for range 5 {
		b.connect(t)
	}
	b.plan(t)
	b.exec(t, "UPDATE webhook_deliveries SET created_at = '2020-01-02 03:04:05+00:00'")
	var paged []perennial.Delivery
	f := store.DeliveryFilter{TenantID: "acme", Limit: 2}
	for {
		page, err := b.DeliveriesOf(t.Context(), f)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		paged = append(paged, page...)
		f.After = page[len(page)-1]
	}
	require.Len(t, paged, 5)
	seen := map[string]bool{}
	for _, d := range paged {
		require.Equal(t, "own", d.EndpointID, "nobody else's, and not the operator's")
		seen[d.EventID] = true
	}
	require.Len(t, seen, 5)
	for name, f := range map[string]store.DeliveryFilter{
		"another tenant":            {TenantID: "other"},
		"another tenant's endpoint": {TenantID: "other", EndpointID: "own"},
		"the operator's endpoint":   {TenantID: "acme", EndpointID: "all"},
		"none of them is dead":      {TenantID: "acme", State: perennial.DeliveryDead},
	} {
		got, err := b.DeliveriesOf(t.Context(), f)
		require.NoError(t, err)
		require.Empty(t, got, name)
	}
	_, err := b.DeliveriesOf(t.Context(), store.DeliveryFilter{})
	requireCode(t, perennial.CodeInvalid, err)
}
