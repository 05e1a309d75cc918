package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	schedulepb "go.temporal.io/api/schedule/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Record is Temporal's record of the database whose connections a task queue's
// workflows refresh.
type Record struct {
	Database string `json:"database"`
	Number   int64  `json:"number"` // see store.Installation
	// MovedTo is another task queue of the namespace, to which the workflows of this one
	// should move; empty: none.
	MovedTo string `json:"moved_to,omitempty"`
}

// Place is where Temporal keeps a [Record]: in the memo of the action of a paused
// Schedule of its own. Every client that may start workflows may write it; `setup` of an older
// program does not know it; and the server refuses a write over another one.
type Place struct {
	Client    client.Client
	Namespace string
	TaskQueue string
}

// RecordID returns the id of the Schedule that holds the record of a task queue.
func RecordID(taskQueue string) string { return "perennial/" + taskQueue + "/database" }

// Identity is the identity of a Temporal namespace.
type Identity struct {
	ClusterID   string // empty if the server does not say it
	NamespaceID string
}

// Identity asks Temporal who it is.
func (p Place) Identity(ctx context.Context) (Identity, error) {
	out, err := p.Client.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: p.Namespace})
	if err != nil {
		return Identity{}, fmt.Errorf("read the id of Temporal's namespace %s: %w", p.Namespace, err)
	}
	id := Identity{NamespaceID: out.GetNamespaceInfo().GetId()}
	cluster, err := p.Client.WorkflowService().GetClusterInfo(ctx, &workflowservice.GetClusterInfoRequest{})
	if err == nil {
		id.ClusterID = cluster.GetClusterId()
	} else if !notAllowed(err) {
		return Identity{}, fmt.Errorf("read the id of Temporal's cluster: %w", err)
	}
	return id, nil
}

// Read returns the record; found is false if there is none.
func (p Place) Read(ctx context.Context) (r Record, found bool, err error) {
	r, _, found, err = p.read(ctx)
	return r, found, err
}

func (p Place) read(ctx context.Context) (r Record, d *workflowservice.DescribeScheduleResponse, found bool, err error) {
	d, err = p.Client.WorkflowService().DescribeSchedule(ctx, &workflowservice.DescribeScheduleRequest{Namespace: p.Namespace, ScheduleId: RecordID(p.TaskQueue)})
	var missing *serviceerror.NotFound
	if errors.As(err, &missing) {
		return r, nil, false, nil
	}
	if err != nil {
		return r, nil, false, fmt.Errorf("read which database Temporal's task queue %s belongs to: %w", p.TaskQueue, err)
	}
	payload := d.GetSchedule().GetAction().GetStartWorkflow().GetMemo().GetFields()[recordMemo]
	if payload == nil || converter.GetDefaultDataConverter().FromPayload(payload, &r) != nil || r.Database == "" {
		return Record{}, d, false, nil // somebody changed the Schedule; setup writes it anew
	}
	return r, d, true, nil
}

const (
	recordMemo  = "PerennialDatabase"
	recordNote  = "says which database this task queue belongs to; leave it paused"
	recordTries = 5
)

// Write changes the record by decide, which returns the new one. If decide returns an
// error, nothing is written. Of two writers at once, the second decides again.
func (p Place) Write(ctx context.Context, decide func(old Record, found bool) (Record, error)) (err error) {
	for range recordTries {
		old, described, found, readErr := p.read(ctx)
		if readErr != nil {
			return readErr
		}
		r, decideErr := decide(old, found)
		if decideErr != nil {
			return decideErr
		}
		if found && r == old {
			return nil
		}
		if err = p.put(ctx, r, described); err == nil {
			return nil
		}
		var exists *serviceerror.AlreadyExists
		var raced *serviceerror.FailedPrecondition
		var started *serviceerror.WorkflowExecutionAlreadyStarted
		if !errors.As(err, &exists) && !errors.As(err, &raced) && !errors.As(err, &started) {
			break
		}
	}
	return fmt.Errorf("write which database Temporal's task queue %s belongs to: %w", p.TaskQueue, err)
}

// newSweep is the record's action: a sweep does no harm if somebody runs the Schedule.
func newSweep(taskQueue string, memo map[string]*commonpb.Payload) *workflowpb.NewWorkflowExecutionInfo {
	return &workflowpb.NewWorkflowExecutionInfo{WorkflowId: SweepID(taskQueue), WorkflowType: &commonpb.WorkflowType{Name: SweepWorkflow},
		TaskQueue: &taskqueuepb.TaskQueue{Name: taskQueue, Kind: enumspb.TASK_QUEUE_KIND_NORMAL}, Memo: &commonpb.Memo{Fields: memo}}
}

func (p Place) put(ctx context.Context, r Record, over *workflowservice.DescribeScheduleResponse) error {
	payload, err := converter.GetDefaultDataConverter().ToPayload(r)
	if err != nil {
		return err
	}
	s := &schedulepb.Schedule{
		// Once a year: a Schedule that never fires is deleted. It is paused, too.
		Spec:   &schedulepb.ScheduleSpec{Interval: []*schedulepb.IntervalSpec{{Interval: durationpb.New(365 * 24 * time.Hour)}}},
		Action: &schedulepb.ScheduleAction{Action: &schedulepb.ScheduleAction_StartWorkflow{StartWorkflow: newSweep(p.TaskQueue, map[string]*commonpb.Payload{recordMemo: payload})}},
		State:  &schedulepb.ScheduleState{Paused: true, Notes: recordNote},
	}
	if over == nil {
		_, err = p.Client.WorkflowService().CreateSchedule(ctx, &workflowservice.CreateScheduleRequest{Namespace: p.Namespace, ScheduleId: RecordID(p.TaskQueue), Schedule: s, RequestId: uuid.NewString()})
		return err
	}
	_, err = p.Client.WorkflowService().UpdateSchedule(ctx, &workflowservice.UpdateScheduleRequest{Namespace: p.Namespace, ScheduleId: RecordID(p.TaskQueue), Schedule: s,
		ConflictToken: over.ConflictToken, RequestId: uuid.NewString()})
	return err
}
