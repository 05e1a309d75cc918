package wiring

import (
	"fmt"

	"github.com/perennial-oauth/perennial/internal/seam"
	"github.com/perennial-oauth/perennial/store"
	"github.com/perennial-oauth/perennial/workflows"
)

// BindingState describes a process's database and Temporal, as it found them.
type BindingState string

// The states. Refresh tokens are presented in the first two.
const (
	Bound     BindingState = "bound"
	Unbound   BindingState = "unbound"   // an id is missing: `perennial setup` has not run
	Elsewhere BindingState = "elsewhere" // the database belongs to another Temporal: a copy, or a move
	Behind    BindingState = "behind"    // the database went backwards: a restore
	Foreign   BindingState = "foreign"   // the task queue belongs to another database
)

// Presents reports whether a process in this state may present refresh tokens.
func (s BindingState) Presents() bool {
	return s == Bound || s == Unbound || seam.Off(seam.Binding)
}

// Found is all that a process found.
type Found struct {
	State        BindingState       `json:"state"`
	Reason       string             `json:"reason,omitempty"` // the fault and its remedy
	Installation store.Installation `json:"database"`
	ClusterID    string             `json:"cluster_id"`
	NamespaceID  string             `json:"namespace_id"`
	Namespace    string             `json:"namespace"`
	TaskQueue    string             `json:"task_queue"`
	Record       *workflows.Record  `json:"temporal"` // nil: Temporal knows no database
}

// binding returns the place that was found, as the database keeps it.
func (f Found) binding() store.Binding {
	return store.Binding{ClusterID: f.ClusterID, NamespaceID: f.NamespaceID, TaskQueue: f.TaskQueue, Namespace: f.Namespace}
}

// judge returns f with its state and reason. It is pure.
func judge(f Found) Found {
	known, listed := f.Installation.Find(f.NamespaceID, f.TaskQueue)
	if f.Record == nil && known.ClusterID != "" && f.ClusterID != "" && known.ClusterID != f.ClusterID {
		listed = false // only a record that a failover copied vouches for another cluster
	}
	mine, queue := f.Installation.DatabaseID, fmt.Sprintf("task queue %s of namespace %s", f.TaskQueue, f.Namespace)
	say := func(s BindingState, format string, args ...any) Found {
		f.State, f.Reason = s, fmt.Sprintf(format, args...)
		return f
	}
	switch {
	case f.Record != nil && f.Record.Database != mine:
		return say(Foreign, "%s belongs to database %s, and this database is %s: give each environment a namespace or a task_queue of its own. If this database takes the other's place, stop the other's workers and run `perennial adopt --replace %s`",
			queue, f.Record.Database, named(mine), f.Record.Database)
	case mine == "" || f.Record == nil && (listed || len(f.Installation.Bindings) == 0):
		return say(Unbound, "database and Temporal do not know each other yet: run `perennial setup`")
	case !listed && oldQueue(f) != "":
		return say(Elsewhere, "this database belongs to task queue %[2]s, and the configuration names %[1]s: set task_queue back, or, to move, leave the workers of the old one running and run `perennial setup` and `perennial move --from %[2]s`. If this is a copy whose original is still in use, leave it so; if it replaces the original, stop that and run `perennial adopt`", f.TaskQueue, oldQueue(f))
	case !listed:
		return say(Elsewhere, "this database belongs to another Temporal than %s: if it is a copy whose original is still in use, leave it so. If it has moved here, run `perennial adopt`; if both Temporals are to refresh it, `perennial adopt --beside`", queue)
	case f.Record.Number > f.Installation.Number:
		return say(Behind, "the database went backwards (its number is %d, Temporal saw %d): run `perennial restored` if it was restored, and give a copy of it another task_queue or namespace", f.Installation.Number, f.Record.Number)
	}
	return say(Bound, "")
}

// oldQueue returns a task queue of the same namespace that the database belongs to.
func oldQueue(f Found) string {
	for _, b := range f.Installation.Bindings {
		if b.NamespaceID == f.NamespaceID && (b.ClusterID == "" || f.ClusterID == "" || b.ClusterID == f.ClusterID) && b.TaskQueue != f.TaskQueue {
			return b.TaskQueue
		}
	}
	return ""
}

func named(id string) string {
	if id == "" {
		return "one without an id"
	}
	return id
}
