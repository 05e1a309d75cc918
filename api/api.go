package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/client/wire"
	"github.com/perennial-oauth/perennial/connect"
	"github.com/perennial-oauth/perennial/internal/guard"
	"github.com/perennial-oauth/perennial/notify"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// Store is what the API needs of store.Store.
type Store interface {
	Get(ctx context.Context, access perennial.Access, id string) (perennial.Connection, time.Time, error)
	List(ctx context.Context, access perennial.Access, f store.Filter) ([]perennial.Connection, error)
	AttemptsAfter(ctx context.Context, access perennial.Access, connectionID string, started time.Time, id string, limit int) ([]perennial.Attempt, error)
	AppIncidents(ctx context.Context, name string) (store.AppState, error)
	Hosts(ctx context.Context, access perennial.Access, app string) ([]string, error)
}

// Connections changes connections: connect.Service in production.
type Connections interface {
	Connect(ctx context.Context, access perennial.Access, g connect.Grant) (perennial.Connection, error)
	Reconnect(ctx context.Context, access perennial.Access, id string, g connect.Grant) (perennial.Connection, error)
	Pause(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error)
	Resume(ctx context.Context, access perennial.Access, id string) (perennial.Connection, error)
	SetCadence(ctx context.Context, access perennial.Access, id string, cadence perennial.Cadence) (perennial.Connection, error)
}

// Disconnects ends connections, also at their providers: connect.Disconnector in
// production.
type Disconnects interface {
	Disconnect(ctx context.Context, access perennial.Access, id string) (perennial.Connection, perennial.Revocation, error)
}

// Webhooks stores webhook endpoints and deliveries: notify.Service in production.
type Webhooks interface {
	Endpoints(ctx context.Context, access perennial.Access) ([]perennial.WebhookEndpoint, error)
	Endpoint(ctx context.Context, access perennial.Access, id string) (perennial.WebhookEndpoint, error)
	RemoveEndpoint(ctx context.Context, access perennial.Access, id string) error
	DeliveriesOf(ctx context.Context, access perennial.Access, f notify.DeliveryFilter) ([]perennial.Delivery, error)
	Redeliver(ctx context.Context, access perennial.Access, event, endpoint string) error
	Add(ctx context.Context, access perennial.Access, url string, types []perennial.EventType) (perennial.WebhookEndpoint, perennial.Secret, error)
	Rotate(ctx context.Context, access perennial.Access, id string, keep time.Duration) (perennial.Secret, error)
}

// Observer receives every request; metrics.API in production.
type Observer interface {
	// Request: operation is the id in the OpenAPI document, empty if there is none;
	// code is the problem's, empty for a success.
	Request(operation string, status int, code string, took time.Duration)
}

// Config configures an [API]. All fields but those with a default are required.
type Config struct {
	Store       Store
	Keys        *KeyStore
	Requests    *RequestStore
	Connections Connections
	Disconnects Disconnects
	Webhooks    Webhooks
	Sessions    Sessions // nil if no connect pages are configured
	// Tokens returns the backend with the access tokens that an access reaches, for one
	// request: direct.Backend's For in production.
	Tokens func(access perennial.Access) (Backend, error)
	Apps   []provider.App

	// Rate is how many requests a second each key may make to this process, and Burst
	// how many at once. They default to 2,000 and to two seconds of Rate.
	Rate  float64
	Burst int
	// Failures is how many invalid keys each address may present to this process in a
	// minute. Further ones get a 429 without a look-up. A valid key always passes.
	// Defaults to 60.
	Failures int
	Log      *slog.Logger // Defaults to discarding.
	Observer Observer     // may be nil
	Now      func() time.Time
}

func (c Config) withDefaults() Config {
	c.Rate = cmp.Or(c.Rate, 2000)
	c.Burst = cmp.Or(c.Burst, int(2*c.Rate))
	c.Failures = cmp.Or(c.Failures, 60)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) validate() error {
	for name, missing := range map[string]bool{"Store": c.Store == nil, "Keys": c.Keys == nil, "Requests": c.Requests == nil, "Connections": c.Connections == nil, "Disconnects": c.Disconnects == nil,
		"Webhooks": c.Webhooks == nil, "Tokens": c.Tokens == nil} {
		if missing {
			return perennial.Errorf(perennial.CodeInvalid, "api: %s is needed", name)
		}
	}
	if c.Rate < 0 || c.Burst < 0 || c.Failures < 0 {
		return perennial.Errorf(perennial.CodeInvalid, "api: Rate, Burst and Failures must not be negative")
	}
	return nil
}

// API is an [http.Handler] for the paths below /v1/. It is safe for concurrent
// use.
type API struct {
	Config
	huma       huma.API
	mux        *http.ServeMux
	keys       *keys
	limits     *limits
	failures   *guard.Failures
	background sync.WaitGroup  // notes that no request waits for
	document   []byte          // the OpenAPI document
	names      map[string]bool // of the fields and parameters in it
}

// DocumentPath is the path of the OpenAPI document. It needs no key.
const DocumentPath = "/v1/openapi.json"

// New returns the API.
func New(c Config) (*API, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	a := &API{Config: c.withDefaults(), mux: http.NewServeMux()}
	a.keys = newKeys(a.Keys, a.Now)
	a.limits = newLimits(a.Rate, a.Burst)
	a.failures = guard.New(a.Failures)
	a.huma = humago.New(a.mux, a.description())
	a.huma.UseMiddleware(a.admit)
	a.registerConnections()
	a.registerTokens()
	a.registerApps()
	a.registerSessions()
	a.registerWebhooks()
	a.registerVersion()
	var err error
	if a.document, err = json.MarshalIndent(a.huma.OpenAPI(), "", "  "); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	if a.names, err = namesIn(a.document); err != nil {
		return nil, err
	}
	a.mux.HandleFunc("GET "+DocumentPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(a.document)
	})
	return a, nil
}

// Close waits for background work. Close the store after it.
func (a *API) Close() { a.background.Wait() }

// Document returns the API's OpenAPI 3.1 document, as JSON.
func (a *API) Document() []byte { return a.document }

const securityScheme = "apiKey"

// schemaNames has the names in the document for types with another name in Go.
// Generated clients use these names.
var schemaNames = map[reflect.Type]string{
	reflect.TypeFor[perennial.StatusText](): "Words",
	reflect.TypeFor[wire.TokenState]():      "State",
	reflect.TypeFor[wire.RefreshBody]():     "RefreshInputBody",
	reflect.TypeFor[wire.NoteBody]():        "NoteInputBody",
}

func schemaName(t reflect.Type, hint string) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if name, ok := schemaNames[t]; ok {
		return name
	}
	return huma.DefaultSchemaNamer(t, hint)
}

func (a *API) description() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Perennial", Version: "1",
				Description: "Keeps third-party OAuth connections alive, and hands out their access tokens.\n\nEvery request carries an API key: `Authorization: Bearer pk_...`. A key of one tenant reaches what that tenant has. With a key of every tenant each request names its tenant in the header `Perennial-Tenant`. What belongs to another tenant is not found. Every error is a problem (RFC 9457) with a stable `code`. Members may be added to answers; ignore those that you do not know.",
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{securityScheme: {Type: "http", Scheme: "bearer", BearerFormat: "pk_<id>_<secret>",
					Description: "An API key, made by `perennial apikey create`. The names beside it are scopes, of which the key needs one; `admin` allows everything."}},
			},
		},
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{a.transform},
	}
}

// transform turns every error into a [Problem] that names its request.
func (a *API) transform(ctx huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		v = a.fromHuma(m)
	}
	if p, ok := v.(*Problem); ok {
		callOf(ctx.Context()).failed(p)
	}
	return v, nil
}

// namesIn returns the names of all parameters and fields in an OpenAPI document.
func namesIn(document []byte) (map[string]bool, error) {
	var root any
	if err := json.Unmarshal(document, &root); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	names := map[string]bool{"body": true, "query": true, "path": true, "header": true}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if properties, ok := v["properties"].(map[string]any); ok {
				for name := range properties {
					names[name] = true
				}
			}
			if name, ok := v["name"].(string); ok && v["in"] != nil {
				names[name] = true
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(root)
	return names, nil
}

// reachedApp finds an app of the configuration that an access reaches. Any other does not
// exist for it.
func (a *API) reachedApp(access perennial.Access, name string) (app provider.App, ok bool) {
	app, ok = a.app(name)
	return app, ok && access.ReachesApp(name)
}

// app finds an app of the configuration. ok is false if the app has left it.
func (a *API) app(name string) (app provider.App, ok bool) {
	for _, app := range a.Apps {
		if app.Name == name {
			return app, true
		}
	}
	return provider.App{}, false
}
