package activities

import (
	"context"
	"maps"
	"slices"

	"github.com/perennial-oauth/perennial"
)

// The names of the search attributes. All are keywords.
const (
	AttributeStatus   = "PerennialStatus"
	AttributeProvider = "PerennialProvider"
	AttributeApp      = "PerennialApp"
	AttributeTenant   = "PerennialTenant"
)

// Attributes knows which search attributes the namespace has at present;
// workflows.Attributes in production. It is safe for concurrent use, and answers at once
// or within a few seconds.
type Attributes interface {
	// Registered reports whether one of our search attributes is there, as a keyword.
	Registered(ctx context.Context, name string) bool
	// Known reports whether a search attribute of any name and type is there.
	Known(ctx context.Context, name string) bool
}

// Shown asks an activity which search attributes a workflow should set. Only a local
// activity can answer: its result stands in the history beside the command that
// follows from it. A command for an attribute that is not registered would fail its
// workflow task for ever.
type Shown struct {
	Asked  bool              `json:"asked,omitempty"`
	Values map[string]string `json:"values,omitempty"` // as last set, by name
	// Names has all search attributes that the run would hand on to the next one. A
	// removed one is there by the server's own name for its column.
	Names []string `json:"names,omitempty"`
}

// AttributesOf returns the values of the search attributes that v shows.
func (v View) AttributesOf() map[string]string {
	return map[string]string{AttributeStatus: string(v.Status), AttributeProvider: v.Provider, AttributeApp: v.App, AttributeTenant: v.Tenant}
}

// missing returns the search attributes that a workflow has and its namespace no longer.
func (a *Activities) missing(ctx context.Context, shown Shown) (names []string) {
	if a.Attributes == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(shown.Values)) {
		if !a.Attributes.Registered(ctx, name) {
			names = append(names, name)
		}
	}
	for _, name := range shown.Names {
		if _, set := shown.Values[name]; !set && !a.Attributes.Known(ctx, name) {
			names = append(names, name)
		}
	}
	return names
}

// upsert returns the registered search attributes whose values v changes.
func (a *Activities) upsert(ctx context.Context, shown Shown, v View) map[string]string {
	if !shown.Asked || v.Gone {
		return nil
	}
	out := map[string]string{}
	for name, value := range v.AttributesOf() {
		if have, ok := shown.Values[name]; (!ok || have != value) && (a.Attributes == nil || a.Attributes.Registered(ctx, name)) {
			out[name] = value
		}
	}
	return out
}

// ShownOf returns the search attributes that a connection's workflow is started with.
func ShownOf(c perennial.Connection) map[string]string {
	return View{Status: c.Status, Provider: c.Provider, App: c.App, Tenant: c.TenantID}.AttributesOf()
}
