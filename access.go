package perennial

import "slices"

// ActorKind says what kind of caller acts.
type ActorKind string

// The kinds of actors.
const (
	ActorAPIKey      ActorKind = "api_key"      // the id is the key's
	ActorBrowser     ActorKind = "browser"      // a customer on a connect page; the id is the session's
	ActorProgram     ActorKind = "program"      // product code with the database's password: package direct
	ActorCommandLine ActorKind = "command_line" // an operator
	ActorWorker      ActorKind = "worker"       // Perennial itself, on nobody's behalf
)

// Actor is the caller that acts.
type Actor struct {
	Kind ActorKind
	ID   string // empty if the kind has no ids
}

// Access is what an actor may reach: whose data, of which apps, with which rights. It is
// made once, where a request enters the program, and the stores narrow every statement by
// it. What an access does not reach is not found, whether it exists or not. The zero value
// reaches nothing. An Access is never changed, only narrowed into another one.
type Access struct {
	Actor Actor

	every  bool   // every tenant; else only the one called tenant
	tenant string // empty: none
	apps   []string
	only   bool // only these apps; else every app
	rights []Scope
}

// TenantAccess returns the access of an actor to one tenant. An empty name is an error
// of [CodeInvalid]: it never means all tenants.
func TenantAccess(actor Actor, tenant string, rights ...Scope) (Access, error) {
	if err := CheckTenant(tenant); err != nil {
		return Access{}, err
	}
	return Access{Actor: actor, tenant: tenant, rights: slices.Clone(rights)}, nil
}

// EveryTenantAccess returns the access of an actor to all tenants.
func EveryTenantAccess(actor Actor, rights ...Scope) Access {
	return Access{Actor: actor, every: true, rights: slices.Clone(rights)}
}

// CommandLineAccess is an operator's: whoever has the database's password may do
// everything.
func CommandLineAccess() Access {
	return EveryTenantAccess(Actor{Kind: ActorCommandLine}, ScopeAdmin)
}

// WorkerAccess is that of Perennial's own work, which no actor asked for: refreshes,
// sweeps, releases. Nothing that serves a caller may use it.
func WorkerAccess() Access { return EveryTenantAccess(Actor{Kind: ActorWorker}, ScopeAdmin) }

// CheckTenant returns an error of [CodeInvalid] if a tenant has no name.
func CheckTenant(name string) error {
	if name == "" {
		return Errorf(CodeInvalid, "name the tenant")
	}
	return nil
}

// InTenant narrows the access to one tenant. If the access does not reach it, the result
// reaches nothing.
func (a Access) InTenant(tenant string) (Access, error) {
	if err := CheckTenant(tenant); err != nil {
		return Access{}, err
	}
	if !a.every && a.tenant != tenant {
		tenant = ""
	}
	a.every, a.tenant = false, tenant
	return a, nil
}

// OnApps narrows the access to some apps.
func (a Access) OnApps(names ...string) Access {
	apps := []string{}
	for _, name := range names {
		if a.ReachesApp(name) {
			apps = append(apps, name)
		}
	}
	a.apps, a.only = apps, true
	return a
}

// Tenant returns the only tenant that the access reaches. ok is false if it reaches all
// tenants or none.
func (a Access) Tenant() (name string, ok bool) { return a.tenant, !a.every && a.tenant != "" }

// OneTenant is Tenant for what cannot be done for many tenants at once: without exactly
// one it returns an error of [CodeInvalid].
func (a Access) OneTenant() (string, error) {
	if a.every {
		return "", Errorf(CodeInvalid, "name the tenant: this cannot be done for all of them")
	}
	return a.tenant, CheckTenant(a.tenant)
}

// EveryTenant reports whether the access reaches all tenants.
func (a Access) EveryTenant() bool { return a.every }

// Apps returns the only apps that the access reaches. limited is false if it reaches all.
func (a Access) Apps() (names []string, limited bool) { return slices.Clone(a.apps), a.only }

// IsZero reports whether the access reaches nothing.
func (a Access) IsZero() bool { return !a.every && a.tenant == "" }

// Everything reports whether the access reaches all tenants and all apps.
func (a Access) Everything() bool { return a.every && !a.only }

// Covers reports whether the access reaches all that another one does, with all its rights.
func (a Access) Covers(b Access) bool {
	if !a.every && (b.every || a.tenant != b.tenant) || a.only && !b.only {
		return false
	}
	return !slices.ContainsFunc(b.apps, func(app string) bool { return !a.ReachesApp(app) }) &&
		!slices.ContainsFunc(b.rights, func(right Scope) bool { return !a.Allows(right) })
}

// ReachesApp reports whether the access reaches an app.
func (a Access) ReachesApp(name string) bool { return !a.only || slices.Contains(a.apps, name) }

// Reaches reports whether the access reaches what a tenant has of an app.
func (a Access) Reaches(tenant, app string) bool {
	return (a.every || a.tenant != "" && a.tenant == tenant) && a.ReachesApp(app)
}

// Allows reports whether the access has one of the rights, or admin.
func (a Access) Allows(any ...Scope) bool { return allows(a.rights, any) }
