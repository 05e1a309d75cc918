package browser

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/connecttest"
	"github.com/perennial-oauth/perennial/notify"
)

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// shown is a connection of the storybook.
type shown struct {
	id, app, title, account string
	status                  perennial.Status
	health                  perennial.Health
	reason                  perennial.Reason
}

var storybook = []shown{
	{"con_1", "hubspot", "HubSpot", "portal 62515", perennial.StatusActive, perennial.HealthHealthy, ""},
	{"con_2", "quickbooks", "QuickBooks", "realm 9130357", perennial.StatusReconnectRequired, perennial.HealthHealthy, perennial.ReasonInvalidGrant},
	{"con_3", "xero", "Xero", "Jane's Bikes Ltd of Somewhere with a long name", perennial.StatusActive, perennial.HealthFailing, ""},
	{"con_4", "shopify", "Shopify", "janes-bikes.myshopify.com", perennial.StatusDisconnected, perennial.HealthHealthy, ""},
	{"", "slack", "Slack", "", "", "", ""},
}

// story answers as Perennial's API, with invented connections, and as the API of a
// provider that takes orders. Package e2e tests the product with a real one.
func story(w http.ResponseWriter, r *http.Request) {
	var apps, connections []any
	for _, s := range storybook {
		apps = append(apps, map[string]any{"name": s.app, "title": s.title})
		if s.id == "" {
			continue
		}
		connections = append(connections, map[string]any{"id": s.id, "app": s.app, "account_id": s.account, "status": s.status, "health": s.health,
			"words": perennial.Describe(s.status, s.health, s.reason, s.title)})
		if strings.HasPrefix(r.URL.Path, "/v1/connections/"+s.id+"/token") {
			now := time.Now()
			state := map[string]any{"id": s.id, "app": s.app, "title": s.title, "status": s.status, "reason": s.reason, "generation": 1,
				"now": now, "refreshed_at": now, "expires_at": now.Add(time.Hour), "due_at": now.Add(time.Hour)}
			if s.status == perennial.StatusActive {
				_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "t", "connection": state})
				return
			}
			state["expires_at"] = now.Add(-time.Hour)
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(map[string]any{"status": 409, "code": s.status, "connection": state})
			return
		}
	}
	switch {
	case r.URL.Path == "/v1/apps":
		_ = json.NewEncoder(w).Encode(map[string]any{"apps": apps})
	case r.URL.Path == "/v1/connections":
		_ = json.NewEncoder(w).Encode(map[string]any{"connections": connections})
	case strings.HasPrefix(r.URL.Path, "/v1/"):
		w.WriteHeader(http.StatusNoContent)
	}
}

// TestProductPage shows the page of examples/product on every screen, with scripts off.
func TestProductPage(t *testing.T) {
	perennialAPI := httptest.NewServer(http.HandlerFunc(story))
	t.Cleanup(perennialAPI.Close)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir, "./examples/product")
	build.Dir = "../.."
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	product := exec.Command(filepath.Join(dir, "product"))
	product.Env = append(os.Environ(), "PERENNIAL_URL="+perennialAPI.URL, "PERENNIAL_KEY=pk_0_0", "WEBHOOK_SECRET="+webhookSecret,
		"PROVIDER_API="+perennialAPI.URL+"/orders", "LISTEN="+address, "DATABASE="+filepath.Join(dir, "product.db"))
	product.Stderr = os.Stderr
	require.NoError(t, product.Start())
	t.Cleanup(func() {
		assert.NoError(t, product.Process.Signal(syscall.SIGTERM))
		assert.NoError(t, product.Wait())
	})
	url := "http://" + address + "/settings/connections"
	require.Eventually(t, func() bool {
		resp, err := http.Get(url)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	}, patience, 50*time.Millisecond)

	b := open(t, &connecttest.World{URL: perennialAPI.URL}, chromium(t))
	b.withoutScripts()
	b.tall = 1100
	b.navigate(url)
	b.heading("Connections")
	b.show("product-1-first")
	event := func(id string, kind perennial.EventType, s shown) {
		t.Helper()
		words := perennial.Describe(s.status, s.health, s.reason, s.title)
		raw, err := json.Marshal(notify.Body{Type: kind, Timestamp: time.Now(), Data: notify.Data{ConnectionID: s.id, App: s.app, Status: s.status, Words: &words}})
		require.NoError(t, err)
		v, err := standardwebhooks.NewWebhook(webhookSecret)
		require.NoError(t, err)
		at := time.Now()
		signature, err := v.Sign(id, at, raw)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/webhooks", strings.NewReader(string(raw)))
		require.NoError(t, err)
		req.Header.Set("webhook-id", id)
		req.Header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
		req.Header.Set("webhook-signature", signature)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
	}
	for i, s := range storybook[:4] {
		event(fmt.Sprint("evt_", i), perennial.EventConnected, s)
	}
	event("evt_5", perennial.EventFailing, storybook[2])
	event("evt_6", perennial.EventReconnectRequired, storybook[1])
	for i := range 6 {
		b.click(fmt.Sprintf("section:nth-of-type(%d) form[action$=order] button", i%3+1))
		b.says(fmt.Sprint("Order ", i+1)) // the next page has loaded
	}
	event("evt_7", perennial.EventRecovered, storybook[2])
	event("evt_8", perennial.EventDisconnected, storybook[3])
	b.click("section:nth-of-type(1) summary")
	b.show("product-2-open")
	b.navigate(url)
	b.heading("Connections")
	b.show("product-3-life")
	perennialAPI.Close()
	b.navigate(url)
	b.heading("Connections")
	b.show("product-4-away")
}
