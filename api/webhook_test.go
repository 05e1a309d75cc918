package api_test

import (
	"encoding/json"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/api"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDeliveriesByPages: the pages of an endpoint's deliveries have each of them once, also
// where many were made at one time.
func TestDeliveriesByPages(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin, perennial.ScopeTokensRead)
	for _, id := range []string{"whe_1", "whe_2"} {
		_, err := w.Webhooks.AddEndpoint(t.Context(), perennial.WorkerAccess(), perennial.WebhookEndpoint{ID: id, TenantID: "acme", URL: "https://example.com", SecretSealed: []byte("x")})
		require.NoError(t, err)
	}
	for range 5 {
		w.Connect("acme")
	}
	_, err := w.Webhooks.PlanDeliveries(t.Context(), 100)
	require.NoError(t, err)
	w.Exec("UPDATE webhook_deliveries SET created_at = '2026-01-02 03:04:05+00'")
	seen := map[string]bool{}
	cursor := ""
	for pages := 1; ; pages++ {
		require.LessOrEqual(t, pages, 3)
		answer := w.Do(key, "GET", "/v1/webhooks/whe_1/deliveries?limit=2&cursor="+cursor, "")
		require.Equal(t, 200, answer.Code, answer.Body)
		var page struct {
			Deliveries []api.Delivery `json:"deliveries"`
			NextCursor string         `json:"next_cursor"`
		}
		require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &page))
		for _, d := range page.Deliveries {
			assert.Equal(t, "whe_1", d.WebhookID)
			assert.False(t, seen[d.EventID], d.EventID)
			seen[d.EventID] = true
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	assert.Len(t, seen, 5)
}
