package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/provider"
	"github.com/perennial-oauth/perennial/store"
)

// App is a client registration at a provider, with its incidents. Its connections
// belong to many tenants, so their number is not shown.
type App struct {
	_            struct{}  `additionalProperties:"true"`
	Name         string    `json:"name"`
	Provider     string    `json:"provider" example:"hubspot"`
	Title        string    `json:"title" example:"HubSpot"`
	Scopes       []string  `json:"scopes,omitempty" nullable:"false" doc:"That it asks for"`
	RefusalHold  bool      `json:"held" doc:"Refusals are not believed at present: no connection moves to reconnect_required"`
	HoldRaisedAt time.Time `json:"held_at,omitzero"`
	SlowUntil    time.Time `json:"slow_until,omitzero" doc:"The provider asked for fewer requests until then"`
	Circuits     []Circuit `json:"circuits" nullable:"false" doc:"By host of the token endpoint: those that were never in trouble are left out, and, where each account has its own host, those at which the caller has no connection"`
}

// Circuit is an app's circuit at one host. While it is open, one connection at a time
// probes, and the others wait.
type Circuit struct {
	_           struct{}  `additionalProperties:"true"`
	Host        string    `json:"host"`
	Open        bool      `json:"open" doc:"Also while it is releasing"`
	Releasing   bool      `json:"releasing,omitempty" doc:"A probe succeeded: the waiting connections are refreshed one after another, earliest expiry first"`
	Reason      string    `json:"reason,omitempty" doc:"misconfigured: the provider rejects the client; unavailable: no usable answer comes"`
	Code        string    `json:"code,omitempty" doc:"What the provider said"`
	OpenedAt    time.Time `json:"opened_at,omitzero"`
	NextProbeAt time.Time `json:"next_probe_at,omitzero"`
	SlowUntil   time.Time `json:"slow_until,omitzero"`
}

const appsPath = "/v1/apps"

func (a *API) registerApps() {
	register(a, operation{id: "listApps", method: http.MethodGet, path: appsPath, tag: "apps", scopes: reading, tenant: listsAcross, summary: "List apps with their circuits and holds"}, a.listApps)
	register(a, operation{id: "getApp", method: http.MethodGet, path: appsPath + "/{app}", tag: "apps", scopes: reading, tenant: listsAcross, summary: "Show one app"}, a.getApp)
}

type listAppsOutput struct {
	Body struct {
		_    struct{} `additionalProperties:"true"`
		Apps []App    `json:"apps" nullable:"false"`
	}
}

func (a *API) listApps(ctx context.Context, access perennial.Access, _ *struct{}) (*listAppsOutput, error) {
	out := &listAppsOutput{}
	out.Body.Apps = []App{}
	for _, app := range a.Apps {
		if !access.ReachesApp(app.Name) {
			continue
		}
		state, err := a.incidents(ctx, access, app)
		if err != nil {
			return nil, err
		}
		out.Body.Apps = append(out.Body.Apps, showApp(app, state))
	}
	return out, nil
}

type appInput struct {
	App string `path:"app" maxLength:"100"`
}

type appOutput struct{ Body App }

func (a *API) getApp(ctx context.Context, access perennial.Access, in *appInput) (*appOutput, error) {
	app, ok := a.reachedApp(access, in.App)
	if !ok {
		return nil, problem(perennial.CodeNotFound, "There is no such app.")
	}
	state, err := a.incidents(ctx, access, app)
	if err != nil {
		return nil, err
	}
	return &appOutput{showApp(app, state)}, nil
}

// incidents returns an app's incidents. If each account of its provider has its own host,
// the host is a customer: then only circuits of hosts at which the caller has a connection
// are among them.
func (a *API) incidents(ctx context.Context, access perennial.Access, app provider.App) (store.AppState, error) {
	state, err := a.Store.AppIncidents(ctx, app.Name)
	if err != nil || len(state.Circuits) == 0 || access.EveryTenant() || !app.Provider.HostNeeded() {
		return state, err
	}
	hosts, err := a.Store.Hosts(ctx, access, app.Name)
	state.Circuits = slices.DeleteFunc(state.Circuits, func(c store.Circuit) bool { return !slices.Contains(hosts, c.Host) })
	return state, err
}

func showApp(app provider.App, s store.AppState) App {
	out := App{Name: app.Name, Provider: app.Provider.Name, Title: app.Provider.Title, Scopes: app.Scopes, RefusalHold: s.RefusalHold, HoldRaisedAt: s.HoldRaisedAt,
		SlowUntil: s.SlowUntil, Circuits: []Circuit{}}
	for _, c := range s.Circuits {
		out.Circuits = append(out.Circuits, Circuit{Host: c.Host, Open: c.Open, Releasing: c.Releasing, Reason: c.Reason, Code: c.Code, OpenedAt: c.OpenedAt, NextProbeAt: c.NextProbeAt, SlowUntil: c.SlowUntil})
	}
	return out
}
