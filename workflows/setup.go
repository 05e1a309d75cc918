package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/perennial-oauth/perennial"
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

// Setup registers the search attributes in a namespace and returns those it added. It may
// be repeated. If the server lets no program add attributes, as Temporal Cloud does, and
// some are missing, it returns an error of [perennial.CodeInvalid] that says what to do.
func Setup(ctx context.Context, c client.Client, namespace string) ([]string, error) {
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if notAllowed(err) {
		return nil, addedByHand(ctx, c, namespace, err)
	}
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
	if notAllowed(err) {
		return nil, addByHand(namespace, added, err)
	}
	if err != nil {
		return nil, fmt.Errorf("add the search attributes %v to namespace %s: %w", added, namespace, err)
	}
	return added, nil
}

// notAllowed reports whether the server refuses its operator's service.
func notAllowed(err error) bool {
	var unimplemented *serviceerror.Unimplemented
	var denied *serviceerror.PermissionDenied
	return errors.As(err, &unimplemented) || errors.As(err, &denied)
}

// addedByHand returns nil if every search attribute is there, as far as the server says
// which there are.
func addedByHand(ctx context.Context, c client.Client, namespace string, cause error) error {
	missing := AttributeNames()
	if have, err := c.GetSearchAttributes(ctx); err == nil {
		missing = slices.DeleteFunc(missing, func(name string) bool { _, ok := have.GetKeys()[name]; return ok })
	}
	if len(missing) == 0 {
		return nil
	}
	return addByHand(namespace, missing, cause)
}

func addByHand(namespace string, missing []string, cause error) error {
	return perennial.Errorf(perennial.CodeInvalid, "Temporal lets no program add search attributes to namespace %s: add %s with its own tool, each as Keyword (Temporal Cloud: `tcld namespace search-attributes add`), and run `perennial setup` again: %w",
		namespace, strings.Join(missing, ", "), cause)
}

// prepareTries is how often [Prepare] tries a server that does not answer, a second
// apart. Each try ends by itself after the SDK's 10 s for a request.
const prepareTries = 5

// Prepare runs [SetupSweep] and then [Setup], and returns what each of them made. The
// schedule comes first: without it nothing finds a forgotten connection, also where a
// person must add the attributes. A server that has just started may drop a request;
// Prepare then repeats it.
func Prepare(ctx context.Context, c client.Client, namespace, taskQueue string, s Sweep) (added []string, made bool, err error) {
	scheduled := false
	for try := 1; ; try++ {
		if !scheduled {
			made, err = SetupSweep(ctx, c, taskQueue, s)
			scheduled = err == nil
		}
		if scheduled {
			added, err = Setup(ctx, c, namespace)
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
