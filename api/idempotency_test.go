package api_test

import (
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/accesstest"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/perennial-oauth/perennial/store"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestIdempotency: a request is carried out once for each key.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
	_, another := w.Key("acme", perennial.ScopeConnectionsWrite)
	post := func(key, body, name string) *httptest.ResponseRecorder {
		return w.Do(key, "POST", "/v1/connections", body, "Idempotency-Key", name)
	}
	first := post(key, grant("crm", "1", "one"), "a")
	c := read[api.Connection](t, first)
	assert.Empty(t, first.Header().Get("Idempotency-Replayed"))
	w.Renew(c.ID, 1800e9) // a refresh in between

	again := post(key, grant("crm", "1", "one"), "a")
	assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	assert.JSONEq(t, first.Body.String(), again.Body.String())
	assert.EqualValues(t, 2, w.Row(c.ID).Generation, "the newer tokens stay")

	p := problemIn(t, post(key, grant("crm", "1", "two"), "a"))
	assert.Equal(t, 422, p.Status)
	assert.Equal(t, perennial.Code("idempotency_key_reused"), p.Code)
	p = problemIn(t, w.Do(key, "POST", "/v1/connections/"+c.ID+"/pause", "", "Idempotency-Key", "a"))
	assert.Equal(t, perennial.Code("idempotency_key_reused"), p.Code)
	assert.Equal(t, perennial.StatusActive, w.Row(c.ID).Status)

	read[api.Connection](t, post(another, grant("crm", "1", "one"), "a"))
	assert.EqualValues(t, 3, w.Row(c.ID).Generation, "each API key has its own")

	w.API.Close()
	stored := w.Dump("idempotency_keys")
	require.Contains(t, stored, c.ID)
	clean(t, stored)
	clean(t, w.Logs.String())
}

// TestIdempotentRefusal: a refusal is repeated. A request that may still succeed is
// tried again.
func TestIdempotentRefusal(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	con := w.Connect("acme")
	at := "/v1/connections/" + con.ID
	mismatch := func() api.Problem {
		return problemIn(t, w.Do(key, "PUT", at+"/tokens", reconnect("another", "x"), "Idempotency-Key", "a"))
	}
	one, two := mismatch(), mismatch()
	assert.Equal(t, perennial.CodeAccountMismatch, two.Code)
	assert.Equal(t, one.Detail, two.Detail)
	assert.NotEqual(t, one.RequestID, two.RequestID)

	w.Answer(errors.New("no Temporal"))
	refresh := func() *httptest.ResponseRecorder {
		return w.Do(key, "POST", at+"/refresh", `{"if_generation": 1}`, "Idempotency-Key", "b")
	}
	assert.GreaterOrEqual(t, refresh().Code, 500)
	w.Answer(nil)
	assert.EqualValues(t, 2, read[wire.TokenState](t, refresh()).Generation)

	resume := func() *httptest.ResponseRecorder { return w.Do(key, "POST", at+"/resume", "", "Idempotency-Key", "c") }
	w.SetStatus(con.ID, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	assert.Equal(t, perennial.CodeConflict, problemIn(t, resume()).Code)
	w.SetStatus(con.ID, perennial.StatusPaused, "")
	assert.Equal(t, perennial.StatusActive, read[api.Connection](t, resume()).Status, "a conflict is not final")
}

// broken fails in the middle, so that nobody knows whether tokens were stored.
type broken struct{ api.Connections }

func (broken) Connect(ctx ctx, _ perennial.Access, g connect.Grant) (perennial.Connection, error) {
	return perennial.Connection{}, errors.New("store connection: begin or commit: the wire broke at planted-access-token-one")
}

// TestIdempotencyAfterAnUnknownOutcome: tokens are never stored a second time.
func TestIdempotencyAfterAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t), func(c *api.Config) { c.Connections = broken{c.Connections} })
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
	post := func() api.Problem {
		return problemIn(t, w.Do(key, "POST", "/v1/connections", grant("crm", "1", "one"), "Idempotency-Key", "a"))
	}
	assert.Equal(t, perennial.CodeInternal, post().Code)
	assert.Equal(t, perennial.Code("idempotency_in_progress"), post().Code)
	w.Exec("UPDATE idempotency_keys SET created_at = created_at - interval '2 minutes'")
	assert.Equal(t, perennial.Code("outcome_unknown"), post().Code)
}

// TestIdempotencyUnderWay: of many requests at once one is carried out. The others are
// told so, or get its answer.
func TestIdempotencyUnderWay(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeConnectionsWrite)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			answer := w.Do(key, "POST", "/v1/connections", grant("crm", "1", "one"), "Idempotency-Key", strings.Repeat("k", 255))
			if answer.Code != 200 {
				assert.Contains(t, answer.Body.String(), "idempotency_in_progress")
				assert.Equal(t, "1", answer.Header().Get("Retry-After"))
			}
		})
	}
	wg.Wait()
	all, err := w.Store.List(t.Context(), accesstest.Of(t, "acme"), store.Filter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.EqualValues(t, 1, all[0].Generation)
}

// TestWebhookSecretIsShownOnce: the answer to a repeated key does not show the secret
// again, and the database has it only sealed.
func TestWebhookSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	hook, err := w.Webhooks.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: "whe_1", TenantID: "acme", URL: "https://example.com/", SecretSealed: []byte("sealed")})
	require.NoError(t, err)
	rotate := func(body string) api.Webhook {
		return read[api.Webhook](t, w.Do(key, "POST", "/v1/webhooks/"+hook.ID+"/secret", body, "Idempotency-Key", strings.ReplaceAll("k"+body, " ", "")))
	}
	first := rotate(`{}`)
	assert.True(t, strings.HasPrefix(first.Secret, "whsec_"))
	assert.EqualValues(t, 2, first.SecretVersion)
	assert.InDelta(t, 24, first.OldSecretUntil.Sub(w.Now()).Hours(), 0.1)
	again := rotate(`{}`)
	assert.Empty(t, again.Secret)
	assert.Equal(t, first.SecretVersion, again.SecretVersion)
	assert.NotContains(t, w.Dump("idempotency_keys"), "whsec_")
	ended := rotate(`{"keep_seconds": 0}`)
	assert.EqualValues(t, 3, ended.SecretVersion)
	assert.False(t, ended.OldSecretUntil.After(w.Now()), "0 is not the default")
	assert.NotContains(t, w.Do(key, "GET", "/v1/webhooks", "").Body.String(), "whsec_")
	assert.Equal(t, 204, w.Do(key, "DELETE", "/v1/webhooks/"+hook.ID, "", "Idempotency-Key", "d").Code)
	replayed := w.Do(key, "DELETE", "/v1/webhooks/"+hook.ID, "", "Idempotency-Key", "d")
	assert.Equal(t, 204, replayed.Code)
	assert.Equal(t, "true", replayed.Header().Get("Idempotency-Replayed"))
	assert.Equal(t, 404, w.Do(key, "GET", "/v1/webhooks/"+hook.ID, "").Code)
	assert.NotContains(t, w.Logs.String(), "whsec_")
}
