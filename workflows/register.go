package workflows

import (
	"time"

	"github.com/perennial-oauth/perennial/refresh/timing"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// Options configure the workflows. The zero value suits production.
type Options struct {
	Timing timing.Config // StartToClose bounds the Refresh activity.
	// RefreshesPerRun and MessagesPerRun bound one run's history: past either, the
	// workflow continues as new when it is next idle. They default to [RefreshesPerRun]
	// and 100.
	RefreshesPerRun int
	MessagesPerRun  int // signals and updates, each counted alone
	// Versioning says what worker versioning does with running workflows. It defaults to
	// AutoUpgrade: they are made to be taken over by newer programs, and would otherwise
	// keep an old one running for months. It means nothing to a worker without it.
	Versioning workflow.VersioningBehavior

	newestKnown int // [Knows]; a test's older program knows less
}

// RefreshesPerRun is the default of [Options]. A worker without the workflow in its
// cache reads half of a run's history on average.
const RefreshesPerRun = 24

func (o Options) withDefaults() Options {
	o.Timing = o.Timing.WithDefaults()
	if o.RefreshesPerRun == 0 {
		o.RefreshesPerRun = RefreshesPerRun
	}
	if o.Versioning == workflow.VersioningBehaviorUnspecified {
		o.Versioning = workflow.VersioningBehaviorAutoUpgrade
	}
	if o.newestKnown == 0 {
		o.newestKnown = Knows
	}
	if o.MessagesPerRun == 0 {
		o.MessagesPerRun = 100
	}
	return o
}

// Register adds every workflow of this package to r.
func Register(r worker.WorkflowRegistry, o Options) {
	o = o.withDefaults()
	add := func(w any, name string) {
		r.RegisterWorkflowWithOptions(w, workflow.RegisterOptions{Name: name, VersioningBehavior: o.Versioning})
	}
	add(connectionWorkflow(o), ConnectionWorkflow)
	add(pacer(o), PacerWorkflow)
	add(sweep, SweepWorkflow)
	add(release, ReleaseWorkflow)
	add(appTrouble, AppWorkflow)
	add(deliver, DeliverWorkflow)
}

// Restartable are the workflows that hold nothing which the database does not have: if
// one ends, the sweep or the outbox starts it again.
var Restartable = []string{PacerWorkflow, SweepWorkflow, ReleaseWorkflow, DeliverWorkflow, AppWorkflow}

// registeredNames lists the workflows that Register registers.
var registeredNames = []string{ConnectionWorkflow, PacerWorkflow, SweepWorkflow, ReleaseWorkflow, DeliverWorkflow, AppWorkflow}

// loadTimeout bounds one read of a row. Retries have no limit: the database comes back.
const loadTimeout = 10 * time.Second

// unsavedTimeout bounds the wait for a token set that a local activity has sent here.
const unsavedTimeout = 10 * time.Second

// minWait is the shortest sleep after a refresh that brought nothing.
const minWait = time.Second
