package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// call is a call of Temporal's API that one of our programs makes. try makes it in a
// form without any effect: the request names a namespace and nothing else, no workflow,
// no task queue, no task. A server looks at the permission first; if it allows the call,
// it refuses the request as invalid.
type call struct {
	name string
	try  func(ctx context.Context, c client.Client, namespace string) error
}

// workflowService is short for the table below.
type workflowService = workflowservice.WorkflowServiceClient

// calls lists the calls of workers, servers and the command line.
var calls = []call{
	of(workflowService.PollWorkflowTaskQueue),
	of(workflowService.RespondWorkflowTaskCompleted),
	of(workflowService.RespondWorkflowTaskFailed),
	of(workflowService.RespondQueryTaskCompleted),
	of(workflowService.GetWorkflowExecutionHistory),
	of(workflowService.PollActivityTaskQueue),
	of(workflowService.RecordActivityTaskHeartbeat),
	of(workflowService.RespondActivityTaskCompleted),
	of(workflowService.RespondActivityTaskFailed),
	of(workflowService.StartWorkflowExecution),
	of(workflowService.SignalWithStartWorkflowExecution),
	of(workflowService.UpdateWorkflowExecution),
	of(workflowService.PollWorkflowExecutionUpdate),
	of(workflowService.QueryWorkflow),
	of(workflowService.DescribeWorkflowExecution),
	of(workflowService.DescribeTaskQueue),
	of(workflowService.DescribeNamespace),
	of(workflowService.CreateSchedule),
	of(workflowService.DescribeSchedule),
	of(workflowService.UpdateSchedule),
	{"ListSearchAttributes", listSearchAttributes},
}

// of returns the call of a method, named by its request.
func of[R, A any, P interface {
	*R
	proto.Message
}](method func(workflowService, context.Context, P, ...grpc.CallOption) (*A, error)) call {
	descriptor := P(new(R)).ProtoReflect().Descriptor()
	try := func(ctx context.Context, c client.Client, namespace string) error {
		request := P(new(R))
		request.ProtoReflect().Set(descriptor.Fields().ByName("namespace"), protoreflect.ValueOfString(namespace))
		_, err := method(c.WorkflowService(), ctx, request)
		return err
	}
	return call{strings.TrimSuffix(string(descriptor.Name()), "Request"), try}
}

// listSearchAttributes falls back on another call where no program may use the
// operator's service, as setup does.
func listSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	_, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if denied(err) || codeOf(err) == codes.Unimplemented {
		_, err = c.GetSearchAttributes(ctx)
	}
	return err
}

// callTimeout bounds one call; atOnce is how many are made at the same time.
const (
	callTimeout = 3 * time.Second
	atOnce      = 8
)

func permissions(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(calls))
	parallel(len(calls), func(i int) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		errs[i] = calls[i].try(ctx, c, p.namespace)
	})
	var refused, unanswered []string
	for i, err := range errs {
		var missing *serviceerror.NamespaceNotFound
		switch code := codeOf(err); {
		case errors.As(err, &missing):
			return nil, fmt.Errorf("there is no namespace %s", p.namespace)
		case denied(err):
			refused = append(refused, calls[i].name)
		case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled, code == codes.ResourceExhausted, code == codes.Unimplemented:
			unanswered = append(unanswered, fmt.Sprintf("%s (%s)", calls[i].name, code))
		}
	}
	switch {
	case len(refused) > 0:
		return one(wrong("give these credentials the role that writes to the namespace; on Temporal Cloud: Write",
			"Temporal refuses %d of %d calls that our programs make: %s", len(refused), len(calls), strings.Join(refused, ", ")))
	case len(unanswered) > 0:
		return nil, fmt.Errorf("no answer that tells to %s", strings.Join(unanswered, ", "))
	}
	return one(well("each of the %d calls that our programs make is allowed with the credentials here", len(calls)))
}

// parallel runs do for each number below n, a few at the same time.
func parallel(n int, do func(i int)) {
	var all sync.WaitGroup
	places := make(chan struct{}, atOnce)
	for i := range n {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			do(i)
		})
	}
	all.Wait()
}
