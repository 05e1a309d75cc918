package activities

import (
	"cmp"
	"context"

	"go.temporal.io/sdk/activity"
)

// Revisions knows which revision of the workflow's steps a run may have;
// workflows.Revisions in production. It is safe for concurrent use.
type Revisions interface {
	// Revision returns the newest revision that this program gives to a run and that every
	// live worker of the task queue knows; 0: not known. It answers within a few seconds.
	Revision(ctx context.Context, taskQueue string) int
}

// revision returns the revision for a run that begins now on the task queue to which the
// workflow moves; without a move, on its own. Only a local activity gives one: it runs in
// the program that runs the workflow task.
func (a *Activities) revision(ctx context.Context, moveTo string) int {
	info := activity.GetInfo(ctx)
	if a.Revisions == nil || !info.IsLocalActivity {
		return 0
	}
	return a.Revisions.Revision(ctx, cmp.Or(moveTo, info.TaskQueue))
}
