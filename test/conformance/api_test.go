package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/apitest"
	"github.com/perennial-oauth/perennial/internal/clienttest"
	"github.com/perennial-oauth/perennial/internal/testpg"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// caller is a client of the HTTP API made only from the document that the API serves.
// Another library checks every request and every answer against that document.
type caller struct {
	testing.TB
	base, key  string
	validator  validator.Validator
	document   map[string]any
	operations map[string]described
}

type described struct {
	method, path string
	parameters   []parameter
	body         map[string]any // its schema; nil: none
	required     bool
}

type parameter struct {
	Name, In string
	Required bool
	Schema   map[string]any
}

func newCaller(t testing.TB, base, key string) *caller {
	t.Helper()
	answer, err := http.Get(base + "/v1/openapi.json")
	require.NoError(t, err)
	raw, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	_ = answer.Body.Close()
	doc, err := libopenapi.NewDocument(raw)
	require.NoError(t, err)
	v, errs := validator.NewValidator(doc)
	require.Empty(t, errs)
	ok, problems := v.ValidateDocument()
	require.True(t, ok, "%v", problems)
	require.Equal(t, "3.1.0", doc.GetVersion())

	c := &caller{TB: t, base: base, key: key, validator: v, operations: map[string]described{}}
	require.NoError(t, json.Unmarshal(raw, &c.document))
	for path, methods := range c.document["paths"].(map[string]any) {
		for method, o := range methods.(map[string]any) {
			o := o.(map[string]any)
			d := described{method: strings.ToUpper(method), path: path}
			recode(t, o["parameters"], &d.parameters)
			if body, ok := o["requestBody"].(map[string]any); ok {
				d.required, _ = body["required"].(bool)
				d.body = body["content"].(map[string]any)["application/json"].(map[string]any)["schema"].(map[string]any)
			}
			c.operations[o["operationId"].(string)] = d
		}
	}
	return c
}

func recode(t testing.TB, from, to any) {
	t.Helper()
	raw, err := json.Marshal(from)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, to))
}

// request returns a request for an operation. arguments are by the parameters' names.
func (c *caller) request(id string, arguments map[string]any, body any) *http.Request {
	c.Helper()
	o, ok := c.operations[id]
	require.True(c, ok, "the document has no operation %s", id)
	path, query, header := o.path, url.Values{}, http.Header{}
	for _, p := range o.parameters {
		value, given := arguments[p.Name]
		if !given {
			require.False(c, p.Required, "%s needs %s", id, p.Name)
			continue
		}
		switch text := fmt.Sprint(value); p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(text))
		case "query":
			query.Set(p.Name, text)
		case "header":
			header.Set(p.Name, text)
		}
	}
	var raw []byte
	if body != nil {
		var err error
		raw, err = json.Marshal(body)
		require.NoError(c, err)
		header.Set("Content-Type", "application/json")
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(c.Context(), o.method, target, bytes.NewReader(raw))
	require.NoError(c, err)
	r.Header = header
	r.Header.Set("Authorization", "Bearer "+c.key)
	return r
}

// send sends a request and checks the answer against the document.
func (c *caller) send(id string, r *http.Request) (status int, body string) {
	c.Helper()
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c, err)
	raw, err := io.ReadAll(answer.Body)
	require.NoError(c, err)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(raw))
	if ok, problems := c.validator.ValidateHttpResponse(r, answer); !ok {
		for _, p := range problems {
			c.Errorf("%s answered %d %s, which is not as described: %s: %s %v", id, answer.StatusCode, raw, p.Message, p.Reason, p.SchemaValidationErrors)
		}
	}
	return answer.StatusCode, string(raw)
}

// call makes a request that the document allows, and returns the successful answer.
func (c *caller) call(id string, arguments map[string]any, body any) map[string]any {
	c.Helper()
	r := c.request(id, arguments, body)
	if ok, problems := c.validator.ValidateHttpRequest(r); !ok {
		for _, p := range problems {
			c.Errorf("the request of %s is not as described: %s: %s", id, p.Message, p.Reason)
		}
	}
	r = c.request(id, arguments, body) // the library has consumed the first one's body
	status, text := c.send(id, r)
	require.Less(c, status, 300, "%s: %s", id, text)
	var out map[string]any
	if text != "" {
		require.NoError(c, json.Unmarshal([]byte(text), &out))
	}
	return out
}

// TestClientFromDocument: the document is valid, it suffices to use the whole API, and
// every answer is as it says.
func TestClientFromDocument(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	c := newCaller(t, w.URL(), key)
	called := map[string]bool{}
	call := func(id string, arguments map[string]any, body any) map[string]any {
		t.Helper()
		called[id] = true
		return c.call(id, arguments, body)
	}
	tokens := func(which string) map[string]any {
		return map[string]any{"access_token": clienttest.Secret + which, "refresh_token": apitest.RefreshSecret + which, "expires_in": 1800, "scope": "a b", "hub_id": 62515}
	}
	made := call("createConnection", map[string]any{"Idempotency-Key": "a"}, map[string]any{"app": apitest.App, "account_id": "62515", "tokens": tokens("1")})
	of := map[string]any{"id": made["id"]}
	assert.Equal(t, clienttest.Secret+"1", call("getToken", map[string]any{"id": made["id"], "min_ttl": 60}, nil)["access_token"])
	assert.EqualValues(t, 2, call("refreshConnection", of, map[string]any{"if_generation": 1})["generation"])
	assert.EqualValues(t, 3, call("replaceTokens", of, map[string]any{"account_id": "62515", "tokens": tokens("2")})["generation"])
	assert.Equal(t, "newer", call("reportRefused", of, map[string]any{"generation": 2, "why": "token_refused"})["result"], "that token was replaced")
	call("noteConnection", of, map[string]any{"note": "unauthorized"})
	assert.Equal(t, "paused", call("pauseConnection", of, nil)["status"])
	assert.Equal(t, "active", call("resumeConnection", of, nil)["status"])
	assert.Equal(t, "on_use", call("setCadence", of, map[string]any{"cadence": "on_use"})["cadence"])
	call("getConnection", of, nil)
	call("listAttempts", of, nil)
	assert.Len(t, call("listConnections", map[string]any{"status": "active"}, nil)["connections"], 1)
	call("listApps", nil, nil)
	call("getVersion", nil, nil)
	link := call("createConnectSession", map[string]any{"Idempotency-Key": "link"}, map[string]any{"connection_id": made["id"], "return_url": "https://app.example/back", "lifetime": 600})
	assert.Contains(t, link["link"], "https://connect.example/connect/")
	assert.NotContains(t, call("createConnectSession", map[string]any{"Idempotency-Key": "link"}, map[string]any{"connection_id": made["id"], "return_url": "https://app.example/back", "lifetime": 600}), "link", "it is shown once")
	assert.Equal(t, link["id"], call("getConnectSession", map[string]any{"id": link["id"]}, nil)["id"])
	code, verifier := perennial.NewSecret("fc_code"), perennial.NewSecret(strings.Repeat("v", 43))
	bound := call("createConnectSession", nil, map[string]any{"app": apitest.App, "return_url": "https://app.example/back", "challenge": connect.Challenge(verifier)})
	assert.Equal(t, true, bound["bound"])
	w.Exec("UPDATE connect_sessions SET outcome = 'connected', result_id = 'con_1', finish_code_digest = '" + code.Digest() + "' WHERE id = '" + bound["id"].(string) + "'") // as after a finish
	assert.Equal(t, "con_1", call("finishConnectSession", map[string]any{"id": bound["id"]}, map[string]any{"code": code.Reveal(), "verifier": verifier.Reveal()})["result_id"])
	refused, text := c.send("finishConnectSession", c.request("finishConnectSession", map[string]any{"id": bound["id"]}, map[string]any{"code": code.Reveal(), "verifier": strings.Repeat("w", 43)}))
	assert.Equal(t, 403, refused, text)
	call("getApp", map[string]any{"app": apitest.App}, nil)
	hook := call("createWebhook", nil, map[string]any{"url": "https://93.184.215.14/hook", "types": []string{"connection.recovered"}})
	at := map[string]any{"id": hook["id"]}
	call("listWebhooks", nil, nil)
	call("getWebhook", at, nil)
	assert.NotEmpty(t, call("rotateWebhookSecret", at, map[string]any{})["secret"])
	con := w.Connect("acme")
	w.SetStatus(con.ID, perennial.StatusReconnectRequired, perennial.ReasonOperator)
	w.SetStatus(con.ID, perennial.StatusActive, "")
	_, err := w.Webhooks.PlanDeliveries(t.Context(), 100)
	require.NoError(t, err)
	deliveries := call("listDeliveries", at, nil)["deliveries"].([]any)
	require.Len(t, deliveries, 1)
	event := deliveries[0].(map[string]any)["event_id"]
	status, text := c.send("redeliver", c.request("redeliver", map[string]any{"id": hook["id"], "event_id": event}, nil))
	assert.Equal(t, 409, status, text)
	w.Exec("UPDATE webhook_deliveries SET state = 'dead'")
	assert.Equal(t, "pending", call("redeliver", map[string]any{"id": hook["id"], "event_id": event}, nil)["state"])
	call("deleteWebhook", at, nil)
	assert.Equal(t, "unsupported", call("disconnectConnection", of, nil)["revocation"])
	status, text = c.send("getToken", c.request("getToken", of, nil))
	assert.Equal(t, 409, status, text)
	for id := range c.operations {
		assert.True(t, called[id], "%s is not tested", id)
	}
}

// TestRequestsFromDocument: requests that the document allows, and requests that it
// does not, are answered as it says: no 5xx, nothing of another tenant, and no token in
// a problem. The test prints its seed.
func TestRequestsFromDocument(t *testing.T) {
	t.Parallel()
	w := apitest.New(t, testpg.URL(t))
	_, key := w.Key("acme", perennial.ScopeAdmin)
	c := newCaller(t, w.URL(), key)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := &generator{rand.New(rand.NewPCG(seed, 0)), c.document, []string{w.Connect("acme").ID, w.Connect("other").ID, "con_none"}}
	theirs := w.Row(g.ids[1])
	var ids []string
	for id := range c.operations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	successes := 0
	for range 25 {
		for _, id := range ids {
			o := c.operations[id]
			arguments := map[string]any{}
			for _, p := range o.parameters {
				if p.Required || g.IntN(3) == 0 {
					arguments[p.Name] = g.argument(p)
				}
			}
			var body any
			if o.body != nil && (o.required || g.IntN(2) == 0) {
				body = g.value(o.body, 0)
			}
			status, text := c.send(id, c.request(id, arguments, body))
			if status >= 500 && !strings.Contains(text, `"unavailable"`) {
				t.Errorf("%s %v %v: %d %s", id, arguments, body, status, text)
			}
			if status < 300 {
				successes++
			} else {
				assert.NotContains(t, text, planted)
			}
			assert.NotContains(t, text, theirs.AccountID)
		}
	}
	assert.NotContains(t, w.Logs.String(), planted)
	assert.Equal(t, theirs.UpdatedAt, w.Row(theirs.ID).UpdatedAt)
	t.Logf("%d requests, %d successes", 25*len(ids), successes)
	assert.Greater(t, successes, 25)
}

// planted is in every text that a request carries.
const planted = "planted-text"

// generator makes values from JSON schemas, mostly valid ones.
type generator struct {
	*rand.Rand
	document map[string]any
	ids      []string
}

func (g *generator) argument(p parameter) any {
	switch {
	case p.Name == "id" && g.IntN(8) > 0:
		return g.ids[g.IntN(len(g.ids))]
	case p.Name == "app" && g.IntN(2) > 0:
		return apitest.App
	case p.In == "header": // which has no line breaks
		return fmt.Sprint(planted, g.IntN(20))
	}
	v := g.value(p.Schema, 0)
	if text := fmt.Sprint(v); p.In == "path" && strings.Trim(text, "./") == "" {
		return planted // an empty segment makes another path
	}
	return v
}

func (g *generator) value(schema map[string]any, depth int) any {
	if ref, ok := schema["$ref"].(string); ok {
		at := any(g.document)
		for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
			at = at.(map[string]any)[part]
		}
		return g.value(at.(map[string]any), depth)
	}
	if enum, ok := schema["enum"].([]any); ok && g.IntN(8) > 0 {
		return enum[g.IntN(len(enum))]
	}
	if g.IntN(12) == 0 || depth > 5 { // of any type
		return []any{nil, true, -1, 1e300, planted, []any{planted}, map[string]any{planted: planted}, strings.Repeat(planted, 100), "\u0000", "\u202e\n"}[g.IntN(10)]
	}
	kind, ok := schema["type"].(string)
	if kinds, many := schema["type"].([]any); many {
		kind, ok = kinds[0].(string), true
	}
	if !ok {
		return planted
	}
	switch kind {
	case "object":
		out := map[string]any{}
		properties, _ := schema["properties"].(map[string]any)
		for name, of := range properties {
			if g.IntN(8) > 0 {
				out[name] = g.value(of.(map[string]any), depth+1)
			}
		}
		if g.IntN(12) == 0 {
			out[planted] = planted
		}
		return out
	case "array":
		var out []any
		for range g.IntN(3) {
			out = append(out, g.value(schema["items"].(map[string]any), depth+1))
		}
		return out
	case "integer":
		return []int64{0, 1, 2, 60, -1, 1 << 40}[g.IntN(6)]
	case "boolean":
		return g.IntN(2) == 0
	case "number":
		return g.Float64()
	}
	return []string{planted, "", apitest.App, "https://" + planted + ".invalid/", "é"}[g.IntN(5)]
}
