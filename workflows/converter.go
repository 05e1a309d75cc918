package workflows

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"
)

// Converter returns a data converter for workers that run these workflows, over the one
// that the platform uses. In them, a payload codec that does not answer, or a program
// without the codec, fails the workflow task, which Temporal repeats. The SDK would
// return an error to the workflow instead: it would end, or take steps that no replay
// repeats, or lose a message. All other conversions stay as they are.
//
// A message that no codec can decode is dropped, as [SignalUnsaved] says.
func Converter(over converter.DataConverter) converter.DataConverter {
	return &contextual{DataConverter: over}
}

// contextual is a data converter outside of workflows.
type contextual struct{ converter.DataConverter }

// WithWorkflowContext implements workflow.ContextAware.
func (c *contextual) WithWorkflowContext(ctx workflow.Context) converter.DataConverter {
	inner := c.DataConverter
	if aware, ok := inner.(workflow.ContextAware); ok {
		inner = aware.WithWorkflowContext(ctx)
	}
	if !slices.Contains(registeredNames, workflow.GetInfo(ctx).WorkflowType.Name) {
		return inner // another team's workflow on the same worker
	}
	return &inWorkflow{inner}
}

// WithContext implements workflow.ContextAware.
func (c *contextual) WithContext(ctx context.Context) converter.DataConverter {
	if aware, ok := c.DataConverter.(workflow.ContextAware); ok {
		return &contextual{aware.WithContext(ctx)}
	}
	return c
}

// WithSerializationContext implements converter.DataConverterWithSerializationContext.
func (c *contextual) WithSerializationContext(ctx converter.SerializationContext) converter.DataConverter {
	return &contextual{converter.WithDataConverterSerializationContext(c.DataConverter, ctx)}
}

// inWorkflow is a data converter inside of one of these workflows. A panic there fails
// the workflow task.
type inWorkflow struct{ converter.DataConverter }

// ToPayload implements converter.DataConverter.
func (c *inWorkflow) ToPayload(value any) (*commonpb.Payload, error) {
	p, err := c.DataConverter.ToPayload(value)
	return p, encoded(err)
}

// ToPayloads implements converter.DataConverter.
func (c *inWorkflow) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	p, err := c.DataConverter.ToPayloads(values...)
	return p, encoded(err)
}

// FromPayload implements converter.DataConverter.
func (c *inWorkflow) FromPayload(p *commonpb.Payload, to any) error {
	return c.decode(func() error { return c.DataConverter.FromPayload(p, to) }, to)
}

// FromPayloads implements converter.DataConverter.
func (c *inWorkflow) FromPayloads(p *commonpb.Payloads, to ...any) error {
	return c.decode(func() error { return c.DataConverter.FromPayloads(p, to...) }, to...)
}

func encoded(err error) error {
	if err != nil {
		panic(fmt.Errorf("a payload of this workflow cannot be encoded; the task is repeated: %w", err))
	}
	return nil
}

func (c *inWorkflow) decode(from func() error, to ...any) error {
	err := from()
	if err == nil || errors.Is(err, converter.ErrUnableToDecode) {
		return err // it was decoded, and holds something else than the workflow expects
	}
	if slices.ContainsFunc(to, isMessage) && CheckConverter(c.DataConverter) == nil {
		// Anybody may send a message. The codec works now; it may have come back only after
		// the first try, so the second one decides.
		if err = from(); !codecAway(err) {
			return err
		}
	}
	panic(fmt.Errorf("a payload of this workflow cannot be decoded; the task is repeated: %w", err))
}

// codecAway reports whether err says that a codec gave no answer.
func codecAway(err error) bool {
	return err != nil && (unreachable.Is(err) || perennial.CodeOf(err) == perennial.CodeUnavailable)
}

// isMessage reports whether to receives a message that anybody may send to a running workflow.
func isMessage(to any) bool {
	switch to.(type) {
	case *unsavedMessage, *RefreshNow:
		return true
	}
	return false
}

// probe is the value that CheckConverter encodes. It says nothing about anybody.
const probe = "perennial"

// CheckConverter reports whether a data converter encodes a value and decodes the
// result: whether its codec answers.
func CheckConverter(c converter.DataConverter) error {
	p, err := c.ToPayload(probe)
	if err != nil {
		return fmt.Errorf("encode a payload: %w", err)
	}
	var back string
	if err := c.FromPayload(p, &back); err != nil {
		return fmt.Errorf("decode a payload: %w", err)
	}
	if back != probe {
		return errors.New("the codec does not give back the payload that it encoded")
	}
	return nil
}
