package workflows

import (
	"context"
	"sync"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
)

// Attributes implements [activities.Attributes] over a Temporal client. It is safe for
// concurrent use.
type Attributes struct {
	client client.Client

	mu   sync.Mutex
	asks bool                                          // somebody is asking the server
	have *operatorservice.ListSearchAttributesResponse // nil: the server says nothing
	at   time.Time
}

// NewAttributes returns the search attributes of a client's namespace.
func NewAttributes(c client.Client) *Attributes { return &Attributes{client: c} }

const (
	// attributesFor is how long an answer is believed. A workflow task that sets an
	// attribute which was removed meanwhile fails, and is repeated until then.
	attributesFor = 20 * time.Second
	// attributesTimeout bounds the question, which delays a workflow task.
	attributesTimeout = 3 * time.Second
)

// Registered reports whether the namespace of the running activity has the search
// attribute, as a keyword. A server that does not say which it has is believed to have
// all.
func (a *Attributes) Registered(ctx context.Context, name string) bool {
	have := a.list(ctx, activity.GetInfo(ctx).Namespace)
	return have == nil || have.GetCustomAttributes()[name] == enumspb.INDEXED_VALUE_TYPE_KEYWORD
}

// Known reports whether the namespace of the running activity has the search attribute,
// its own or Temporal's.
func (a *Attributes) Known(ctx context.Context, name string) bool {
	have := a.list(ctx, activity.GetInfo(ctx).Namespace)
	_, custom := have.GetCustomAttributes()[name]
	_, system := have.GetSystemAttributes()[name]
	return have == nil || custom || system
}

// list asks the server, at most once in [attributesFor]. It returns nil if the server does
// not say. While one caller asks, the others use the last answer, so that a slow server
// delays one workflow task and not all.
func (a *Attributes) list(ctx context.Context, namespace string) *operatorservice.ListSearchAttributesResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asks || time.Since(a.at) <= attributesFor {
		return a.have
	}
	a.asks = true
	a.mu.Unlock()
	have := a.ask(ctx, namespace)
	a.mu.Lock()
	a.have, a.at, a.asks = have, time.Now(), false
	return have
}

func (a *Attributes) ask(ctx context.Context, namespace string) *operatorservice.ListSearchAttributesResponse {
	ctx, cancel := context.WithTimeout(ctx, attributesTimeout)
	defer cancel()
	have, err := a.client.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil { // Temporal Cloud, or a key without that right
		return nil
	}
	return have
}
