package workflows

import (
	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/workflow"
)

// changeTombstones: before it, a workflow ended whenever a read did not find its row,
// also if the reader had opened another environment's database.
var changeTombstones = change{"tombstones", 2}

// lookFor returns v, or the view of a missing row if v says that the row is gone and
// does not say who ended the connection. An older program's activity gives such a view.
// It counts the reads that did not find the row.
func (r *run) lookFor(ctx workflow.Context, v activities.View) activities.View {
	if v.Gone && v.Tombstone == "" && r.changed(ctx, changeTombstones) {
		v = activities.MissingView(*r.knows())
	}
	if !v.RowMissing {
		r.state.Looks = 0
		return v
	}
	if r.state.Looks == 0 {
		workflow.GetLogger(ctx).Error("the connection's row is missing: the workflow goes on looking")
	}
	r.state.Looks++
	return v
}

// knows returns what the workflow knows beside the row.
func (r *run) knows() *activities.Known {
	return &activities.Known{Tenant: r.view.Tenant, App: r.view.App, Provider: r.view.Provider, Generation: r.state.Generation, Looks: r.state.Looks}
}
