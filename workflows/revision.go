package workflows

import (
	"context"
	"sync"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	"go.temporal.io/sdk/workflow"
)

// A revision counts the changes of the steps of a connection's workflow. Every run has
// one. No program that starts runs chooses it, because a command line may be newer than
// the workers: a first run gets its revision from its first local activity, and a run
// that ends asks a local activity for that of the next run. The answer is bounded by
// the newest revision that this worker gives and by those that every live worker knows.
const (
	// baseRevision is the revision of every start, and of a first run until its first local
	// activity has ended. All programs take its steps, so it never changes.
	baseRevision = 1
	// revision is the newest that this program gives to a run. Raise it one release after a
	// change, so that the release with the change can still be rolled back: a program that
	// does not know a revision treats its runs as old ones.
	revision = 1
	// Knows is the newest revision whose steps this program knows.
	Knows = 2
)

// change names a change of the steps, and the first revision that has it.
type change struct {
	name  string
	since int
}

// changed reports whether this run takes the changed steps. A run of at least that
// revision does. Only an older one needs a version marker, which costs two events, two
// actions and a write to the visibility store in every run.
func (r *run) changed(ctx workflow.Context, c change) bool {
	if c.since > r.newestKnown {
		return false // a test's older program
	}
	return r.state.Revision >= c.since || workflow.GetVersion(ctx, c.name, workflow.DefaultVersion, 1) != workflow.DefaultVersion
}

// settle gives a first run the revision that its first local activity brought; 0: none,
// because the activity failed or is an older program's.
func (r *run) settle(given int) {
	if r.first {
		r.state.Revision = max(r.state.Revision, given)
	}
	r.first = false
}

// nextRevision returns the revision of the run that continues this one: the answer of a
// local activity of this workflow task. Without one it is the present revision.
func (r *run) nextRevision() int {
	if r.checked && r.view.Revision > 0 {
		return r.view.Revision
	}
	return min(max(r.state.Revision, baseRevision), revision)
}

// Revisions implements [activities.Revisions] over the list of processes. It is safe for
// concurrent use.
type Revisions struct {
	newest func(ctx context.Context, taskQueue string) (int, error)

	mu   sync.Mutex
	last map[string]givenRevision // by task queue
}

var _ activities.Revisions = (*Revisions)(nil)

type givenRevision struct {
	revision int
	until    time.Time
}

// NewRevisions returns the revisions that this program may give to runs. newest returns
// the newest one that every live worker of a task queue knows, and 0 if none is listed:
// store.Store.NewestRevision in production.
func NewRevisions(newest func(ctx context.Context, taskQueue string) (int, error)) *Revisions {
	return &Revisions{newest: newest, last: map[string]givenRevision{}}
}

const (
	// revisionFor is how long an answer is believed. Workers report each minute.
	revisionFor = 20 * time.Second
	// revisionTimeout bounds the question, which delays a workflow task.
	revisionTimeout = 2 * time.Second
)

// Revision implements [activities.Revisions]. It asks at most once in [revisionFor], also
// if the database does not answer. While one caller asks, the others use the last answer.
func (r *Revisions) Revision(ctx context.Context, taskQueue string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.last[taskQueue]
	if time.Now().Before(last.until) {
		return last.revision
	}
	r.last[taskQueue] = givenRevision{last.revision, time.Now().Add(revisionTimeout)}
	r.mu.Unlock()
	newest := r.ask(ctx, taskQueue)
	r.mu.Lock()
	r.last[taskQueue] = givenRevision{min(newest, revision), time.Now().Add(revisionFor)}
	return r.last[taskQueue].revision
}

func (r *Revisions) ask(ctx context.Context, taskQueue string) int {
	ctx, cancel := context.WithTimeout(ctx, revisionTimeout)
	defer cancel()
	newest, err := r.newest(ctx, taskQueue)
	if err != nil {
		return 0
	}
	return newest
}
