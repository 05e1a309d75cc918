package workflows

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
)

// operator answers one question at a time, when the test says so.
type operator struct {
	client.Client
	operatorservice.OperatorServiceClient
	asked   atomic.Int64
	answers chan error
}

func (o *operator) OperatorService() operatorservice.OperatorServiceClient { return o }

func (o *operator) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest, ...grpc.CallOption) (*operatorservice.ListSearchAttributesResponse, error) {
	o.asked.Add(1)
	if err := <-o.answers; err != nil {
		return nil, err
	}
	return &operatorservice.ListSearchAttributesResponse{CustomAttributes: map[string]enumspb.IndexedValueType{"PerennialStatus": enumspb.INDEXED_VALUE_TYPE_KEYWORD}}, nil
}

// TestASlowServerDelaysOneTask: while one workflow task asks which search attributes there
// are, the others use the last answer.
func TestASlowServerDelaysOneTask(t *testing.T) {
	t.Parallel()
	o := &operator{answers: make(chan error)}
	a := NewAttributes(o)
	first := make(chan *operatorservice.ListSearchAttributesResponse)
	ask := func() { first <- a.list(t.Context(), "default") }
	go ask()
	o.answers <- nil
	have := <-first
	require.NotNil(t, have)
	assert.Same(t, have, a.list(t.Context(), "default"), "believed for a while")
	assert.EqualValues(t, 1, o.asked.Load())

	a.at = time.Now().Add(-attributesFor - time.Second)
	go ask()
	require.Eventually(t, func() bool { return o.asked.Load() == 2 }, time.Minute, time.Millisecond)
	for range 3 {
		assert.Same(t, have, a.list(t.Context(), "default"), "nobody else waits")
	}
	o.answers <- errors.New("not allowed")
	assert.Nil(t, <-first, "a server that does not say")
	assert.EqualValues(t, 2, o.asked.Load())
}
