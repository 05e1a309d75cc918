package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/perennial-oauth/perennial/workflows"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
)

// minRetention is the shortest time for which a person can still read what a run did on
// the day before.
const minRetention = 24 * time.Hour

func temporalAnswers(ctx context.Context, p *parts) ([]Finding, error) {
	if err := p.temporal.reason(ctx); err != nil {
		return one(unopened(err, "start it, or correct TEMPORAL_ADDRESS; a worker with a spool refreshes meanwhile"))
	}
	c := p.temporal.value
	info, err := c.WorkflowService().GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{})
	if err != nil {
		return nil, fmt.Errorf("GetSystemInfo: %w", err)
	}
	n, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: p.namespace})
	var missing *serviceerror.NamespaceNotFound
	if errors.As(err, &missing) {
		return one(wrong("set TEMPORAL_NAMESPACE, or create it", "the server answers, and has no namespace %s", p.namespace))
	}
	if err != nil {
		return nil, fmt.Errorf("DescribeNamespace: %w", err)
	}
	retention := n.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration()
	seen := fmt.Sprintf("server %s, namespace %s, which keeps ended runs for %s", info.GetServerVersion(), p.namespace, days(retention))
	switch {
	case n.GetNamespaceInfo().GetState() != enumspb.NAMESPACE_STATE_REGISTERED:
		return one(wrong("use a namespace that is registered", "%s; it is %s", seen, n.GetNamespaceInfo().GetState()))
	case retention > 0 && retention < minRetention:
		return one(warning("set a retention of some days, so that people can read what a run did", "%s", seen))
	}
	return one(well("%s", seen))
}

func days(d time.Duration) string {
	switch {
	case d == 24*time.Hour:
		return "1 day"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}

func searchAttributes(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	have, err := attributeTypes(ctx, c, p.namespace)
	if err != nil {
		return nil, err
	}
	var missing []string
	var out []Finding
	for _, name := range workflows.AttributeNames() {
		switch of, there := have[name]; {
		case !there:
			missing = append(missing, name)
		case of != enumspb.INDEXED_VALUE_TYPE_KEYWORD:
			out = append(out, wrong("remove it with `temporal operator search-attribute remove`, and run `perennial setup`", "%s is of type %s and must be Keyword", name, of))
		}
	}
	if len(missing) > 0 {
		out = append(out, wrong("run `perennial setup`; until then the workflows are not shown by them", "missing in namespace %s: %s", p.namespace, some(missing)))
	}
	if len(out) == 0 {
		return one(well("all %d are registered as Keyword", len(workflows.AttributeNames())))
	}
	return out, nil
}

// attributeTypes asks the operator's service. If the server has none for programs, as
// Temporal Cloud, it asks the other one, which does not know the names that a namespace
// gives to a server's columns, and the namespace for those.
func attributeTypes(ctx context.Context, c client.Client, namespace string) (map[string]enumspb.IndexedValueType, error) {
	list, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err == nil {
		return list.GetCustomAttributes(), nil
	}
	if !denied(err) && codeOf(err) != codes.Unimplemented {
		return nil, fmt.Errorf("ListSearchAttributes: %w", err)
	}
	all, err := c.GetSearchAttributes(ctx)
	if err != nil {
		return nil, fmt.Errorf("ListSearchAttributes and GetSearchAttributes: %w", err)
	}
	n, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("DescribeNamespace: %w", err)
	}
	out := map[string]enumspb.IndexedValueType{}
	maps.Copy(out, all.GetKeys())
	for column, name := range n.GetConfig().GetCustomSearchAttributeAliases() {
		out[name] = all.GetKeys()[column]
	}
	return out, nil
}

// pollLasts is how long after its begin a poll shows that its worker lives. A poll
// lasts a minute.
const pollLasts = 2 * time.Minute

func workersPoll(ctx context.Context, p *parts) ([]Finding, error) {
	c, err := p.temporal.get(ctx)
	if err != nil {
		return nil, err
	}
	var identities, without []string
	for name, kind := range map[string]enumspb.TaskQueueType{"workflows": enumspb.TASK_QUEUE_TYPE_WORKFLOW, "activities": enumspb.TASK_QUEUE_TYPE_ACTIVITY} {
		queue, err := c.DescribeTaskQueue(ctx, p.cfg.TaskQueue, kind)
		if err != nil {
			return nil, fmt.Errorf("DescribeTaskQueue: %w", err)
		}
		living := living(queue.GetPollers(), time.Now())
		identities = append(identities, living...)
		if len(living) == 0 {
			without = append(without, name)
		}
	}
	if len(without) > 0 {
		return one(wrong("start a worker; check its task_queue and TEMPORAL_NAMESPACE", "no worker polls task queue %s of namespace %s for %s", p.cfg.TaskQueue, p.namespace, some(without)))
	}
	slices.Sort(identities)
	return one(well("%d on task queue %s", len(slices.Compact(identities)), p.cfg.TaskQueue))
}

// living returns the identities of the workers that poll now. A server lists a poller
// for some minutes after its last poll.
func living(pollers []*taskqueuepb.PollerInfo, now time.Time) (identities []string) {
	for _, poller := range pollers {
		if now.Sub(poller.GetLastAccessTime().AsTime()) < pollLasts {
			identities = append(identities, poller.GetIdentity())
		}
	}
	return identities
}
