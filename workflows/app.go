package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial/activities"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// AppWorkflow is the registered name of the workflow of an app in trouble, all its hosts
// inside. It tells the trouble's story in the Temporal UI, calls the canary of each probe
// and releases the waiting connections. Every worker does the same without it.
const AppWorkflow = "AppWorkflow"

// AppTrouble is everything that an app's workflow carries over continue-as-new.
type AppTrouble struct {
	App string `json:"app"`
	// Heads has the troubles at the last look.
	Heads []string `json:"heads,omitempty"`
	// Story has the changes from look to look, oldest first, at most storyKept lines.
	Story []string `json:"story,omitempty"`
	// WellSince is since when nothing is wrong, by the workflow's clock.
	WellSince time.Time `json:"well_since,omitzero"`
}

const (
	storyKept   = 30
	longestName = 200
	looksPerRun = 200
	// wellFor is how long an app must be well before its workflow ends.
	wellFor = time.Hour
	// lookTimeout bounds one look. A store that does not answer is asked again after
	// lookAgain.
	lookTimeout = 30 * time.Second
	lookAgain   = 10 * time.Second
)

// keeper is nil on purpose: it only gives the activity its name.
var keeper *activities.AppKeeper

// appTrouble looks after an app until it has been well for an hour. It takes no message:
// what it knows is in the database, so a forged start can do nothing that a worker would
// not do.
func appTrouble(ctx workflow.Context, s AppTrouble) error {
	info := workflow.GetInfo(ctx)
	if s.App == "" || len(s.App) > longestName {
		return temporal.NewNonRetryableApplicationError("the state names no app", "invalid", nil)
	}
	if info.ContinuedExecutionRunID == "" { // only a run that continues another has a past
		s = AppTrouble{App: s.App}
	}
	for range looksPerRun {
		v, ok := look(ctx, s.App)
		if err := ctx.Err(); err != nil {
			return err
		}
		wait, next := lookAgain, "the database does not answer: look again"
		if ok {
			s.take(v, workflow.Now(ctx))
			wait, next = v.Wait, v.Next
		}
		workflow.SetCurrentDetails(ctx, s.details(v, ok, workflow.Now(ctx).Add(wait)))
		if !s.WellSince.IsZero() && workflow.Now(ctx).Sub(s.WellSince) >= wellFor {
			return nil
		}
		if err := workflow.NewTimerWithOptions(ctx, wait, workflow.TimerOptions{Summary: next}).Get(ctx, nil); err != nil {
			return err
		}
		if info.GetContinueAsNewSuggested() {
			break
		}
	}
	return workflow.NewContinueAsNewError(ctx, AppWorkflow, s)
}

// look does the due work for the app, in one local activity: one workflow task a look. ok
// is false if it failed; the next look does the same.
func look(ctx workflow.Context, app string) (v activities.AppView, ok bool) {
	ctx = workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{
		ScheduleToCloseTimeout: lookTimeout,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
		Summary:                "look after " + app,
	})
	err := workflow.ExecuteLocalActivity(ctx, keeper.LookAfterApp, app).Get(ctx, &v)
	return v, err == nil
}

// take adds the changes to the story.
func (s *AppTrouble) take(v activities.AppView, now time.Time) {
	tell := func(line string) { s.Story = append(s.Story, now.UTC().Format(time.DateTime)+" "+line) }
	for _, head := range v.Heads {
		if !slices.Contains(s.Heads, head) {
			tell(head)
		}
	}
	for _, head := range s.Heads {
		if !slices.Contains(v.Heads, head) {
			tell("over: " + head)
		}
	}
	s.Heads, s.Story = v.Heads, s.Story[max(len(s.Story)-storyKept, 0):]
	switch {
	case !v.Well:
		s.WellSince = time.Time{}
	case s.WellSince.IsZero():
		s.WellSince = now
		tell("well")
	}
}

// details is a short Markdown page for ops.
func (s *AppTrouble) details(v activities.AppView, ok bool, next time.Time) string {
	lines := []string{"**" + s.App + "**", ""}
	bullet := func(text string) { lines = append(lines, "- "+text) }
	for _, head := range s.Heads {
		bullet("**" + head + "**")
	}
	for _, line := range v.Lines {
		bullet(line)
	}
	switch {
	case !ok:
		bullet("the database does not answer")
	case v.Problem != "":
		bullet("not done: " + v.Problem)
	}
	if !s.WellSince.IsZero() {
		bullet(fmt.Sprintf("well since %s: this workflow ends after an hour", s.WellSince.UTC().Format(time.DateTime)))
	}
	bullet("next look " + next.UTC().Format(time.DateTime))
	lines = append(lines, "", "What happened, newest first:", "")
	for _, line := range slices.Backward(s.Story) {
		bullet(line)
	}
	return strings.Join(lines, "\n")
}

// AppID returns the id of an app's workflow.
func AppID(taskQueue, app string) string { return fmt.Sprintf("perennial/%s/app/%s", taskQueue, app) }

// StartApp starts the workflow of an app in trouble, unless it is running. Any process
// may call it, repeatedly.
func StartApp(ctx context.Context, c client.Client, taskQueue, app string) error {
	_, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: AppID(taskQueue, app), TaskQueue: taskQueue,
		WorkflowIDConflictPolicy: enumspb.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		WorkflowIDReusePolicy:    enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		StaticSummary:            "app " + app + " in trouble",
	}, AppWorkflow, AppTrouble{App: app})
	if _, running := errors.AsType[*serviceerror.WorkflowExecutionAlreadyStarted](err); err != nil && !running {
		return fmt.Errorf("start the workflow of app %s: %w", app, err)
	}
	return nil
}
