package workflows

import (
	"errors"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

// failing is a data converter whose first decodings fail with these errors.
type failing struct {
	converter.DataConverter
	errs []error
}

func (f *failing) FromPayload(p *commonpb.Payload, to any) error {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		if err != nil {
			return err
		}
	}
	return f.DataConverter.FromPayload(p, to)
}

// TestMessageWhileTheCodecComesBack: a message is dropped only if a codec that works
// refuses it. The decodings are of the message, of the check, and of the message again.
func TestMessageWhileTheCodecComesBack(t *testing.T) {
	t.Parallel()
	away := perennial.Errorf(perennial.CodeUnavailable, "the codec server does not answer")
	foreign := errors.New("sealed with another key")
	p, err := converter.GetDefaultDataConverter().ToPayload(RefreshNow{IfGeneration: 7})
	require.NoError(t, err)
	decode := func(errs ...error) (got RefreshNow, err error) {
		c := &inWorkflow{&failing{DataConverter: converter.GetDefaultDataConverter(), errs: errs}}
		err = c.FromPayload(p, &got)
		return got, err
	}

	got, err := decode(away)
	require.NoError(t, err, "it came back before the check")
	assert.EqualValues(t, 7, got.IfGeneration)
	assert.Panics(t, func() { _, _ = decode(away, away) }, "it stays away")
	assert.Panics(t, func() { _, _ = decode(away, nil, away) }, "it goes away again")
	_, err = decode(foreign, nil, foreign)
	assert.ErrorIs(t, err, foreign, "it refuses the message")
}
