package e2e

import (
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/examples/ownprograms/platform"
	"github.com/perennial-oauth/perennial/fakeprovider"
	"github.com/perennial-oauth/perennial/wiring"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
)

// TestCodecSwitchedOn: in the order of docs/temporal.md a codec is switched on under a
// running workflow, and no task of it fails.
func TestCodecSwitchedOn(t *testing.T) {
	t.Parallel()
	with := func(decodeOnly bool) wiring.Customize {
		codec, err := platform.NewCodec(payloadKey)
		require.NoError(t, err)
		codec.DecodeOnly = decodeOnly
		return platform.WithCodec(codec, &interceptor.InterceptorBase{})
	}
	s := setup(t, setting{class: perennial.ReplaySingleUse, customize: []wiring.Customize{with(true)}})
	without := s.work()
	c := s.connect("a1", fakeprovider.Knobs{LifetimeSeconds: 4, Rotate: true})
	next := func(what string) {
		t.Helper()
		before := s.get(c.ID).Generation
		s.until(c.ID, what, generation(before+2))
	}
	next("the worker without the codec refreshes it")
	reads := s.work(with(true))
	next("one that only decodes, beside it")
	without()
	next("the one that only decodes")
	assert.Zero(t, s.encoded(c.ID), "nothing is encoded yet")
	encodes := s.work(with(false))
	next("one that encodes, beside it")
	reads()
	next("the one that encodes")
	assert.NotZero(t, s.encoded(c.ID), "it is encoded from now on")
	s.work(with(true))
	encodes()
	next("the one that only decodes goes on with an encoded history")

	for _, h := range s.histories(c.ID) {
		for _, e := range h.Events {
			assert.NotEqual(t, enumspb.EVENT_TYPE_WORKFLOW_TASK_FAILED, e.EventType)
		}
	}
	assert.Zero(t, s.oracle("a1").ConsumedPresentations)
}

// encoded counts the encoded results of local activities in the connection's runs.
func (s *stack) encoded(id string) (n int) {
	s.Helper()
	for _, h := range s.histories(id) {
		for _, e := range h.Events {
			for _, payloads := range e.GetMarkerRecordedEventAttributes().GetDetails() {
				for _, p := range payloads.GetPayloads() {
					if string(p.Metadata[converter.MetadataEncoding]) == platform.Encoding {
						n++
					}
				}
			}
		}
	}
	return n
}
