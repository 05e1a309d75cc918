package workflows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial/internal/unreachable"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
)

// AttributeNames lists the search attributes; all are keywords.
func AttributeNames() []string {
	var names []string
	for _, a := range []temporal.SearchAttributeKeyKeyword{AttributeStatus, AttributeProvider, AttributeApp, AttributeTenant} {
		names = append(names, a.GetName())
	}
	return names
}

// Setup registers the search attributes in a namespace of a self-hosted server and
// returns those it added. It may be repeated. On Temporal Cloud, use Cloud's own tool
// instead.
func Setup(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return nil, fmt.Errorf("list the search attributes of namespace %s: %w", namespace, err)
	}
	var added []string
	missing := map[string]enumspb.IndexedValueType{}
	for _, name := range AttributeNames() {
		if _, ok := have.CustomAttributes[name]; !ok {
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
			added = append(added, name)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: namespace, SearchAttributes: missing})
	if err != nil {
		return nil, fmt.Errorf("add the search attributes %v to namespace %s: %w", added, namespace, err)
	}
	return added, nil
}

// prepareTries is how often [Prepare] tries a server that does not answer, a second
// apart. Each try ends by itself after the SDK's 10 s for a request.
const prepareTries = 5

// Prepare runs [Setup] and then [SetupSweep], and returns what each of them made. A
// server that has just started may drop a request; Prepare then repeats both.
func Prepare(ctx context.Context, c client.Client, namespace, taskQueue string, s Sweep) (added []string, made bool, err error) {
	for try := 1; ; try++ {
		var more []string
		if more, err = Setup(ctx, c, namespace); err == nil {
			added = append(added, more...)
			made, err = SetupSweep(ctx, c, taskQueue, s)
		}
		if err == nil || try == prepareTries || !dropped(err) {
			return added, made, err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return added, made, ctx.Err()
		}
	}
}

// dropped reports whether the server gave no answer, or broke the connection off.
func dropped(err error) bool {
	var canceled *serviceerror.Canceled
	return unreachable.Is(err) || errors.As(err, &canceled)
}
