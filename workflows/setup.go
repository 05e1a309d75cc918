package workflows

import (
	"context"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
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

// Setup registers the search attributes in a namespace of a self-hosted server
// and returns those it added. It may be repeated. On Temporal Cloud they are
// made with Cloud's own tool.
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
