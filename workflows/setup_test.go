package workflows

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc"
)

// starting is a Temporal server that has just started: requests fail with these errors
// in turn, and succeed afterwards.
type starting struct {
	client.Client
	operatorservice.OperatorServiceClient
	errs []error
	made int
}

func (s *starting) next() error {
	if len(s.errs) == 0 {
		return nil
	}
	err := s.errs[0]
	s.errs = s.errs[1:]
	return err
}

func (s *starting) OperatorService() operatorservice.OperatorServiceClient { return s }
func (s *starting) ScheduleClient() client.ScheduleClient                  { return schedules{server: s} }

type schedules struct {
	client.ScheduleClient
	server *starting
}

func (s *starting) ListSearchAttributes(context.Context, *operatorservice.ListSearchAttributesRequest, ...grpc.CallOption) (*operatorservice.ListSearchAttributesResponse, error) {
	return &operatorservice.ListSearchAttributesResponse{}, s.next()
}

func (s *starting) AddSearchAttributes(context.Context, *operatorservice.AddSearchAttributesRequest, ...grpc.CallOption) (*operatorservice.AddSearchAttributesResponse, error) {
	return &operatorservice.AddSearchAttributesResponse{}, nil
}

func (s schedules) Create(context.Context, client.ScheduleOptions) (client.ScheduleHandle, error) {
	err := s.server.next()
	if err == nil {
		s.server.made++
	}
	return nil, err
}

// TestPrepare: Prepare repeats a request that a starting server drops, and no other.
func TestPrepare(t *testing.T) {
	t.Parallel()
	denied := errors.New("denied")
	late := serviceerror.NewDeadlineExceeded("late")
	for name, c := range map[string]struct {
		errs []error
		want error
	}{
		"answers":                   {},
		"late, then broken off":     {errs: []error{late, nil, serviceerror.NewCanceled("RST_STREAM"), serviceerror.NewUnavailable("starting"), nil}},
		"refuses":                   {errs: []error{nil, denied}, want: denied},
		"does not answer, ever":     {errs: []error{late, late, late, late, late, late, late}, want: late},
		"answers at the last try":   {errs: []error{late, late, late, late}},
		"refuses after it was late": {errs: []error{late, denied}, want: denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &starting{errs: c.errs}
				added, made, err := Prepare(t.Context(), server, "default", "perennial", Sweep{})
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					assert.Zero(t, server.made)
					return
				}
				require.NoError(t, err)
				assert.True(t, made)
				assert.NotEmpty(t, added)
				assert.Equal(t, 1, server.made)
				assert.Empty(t, server.errs)
			})
		})
	}
}
