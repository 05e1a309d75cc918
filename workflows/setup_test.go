package workflows

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
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
	have []string // the search attributes, for a server that only lists them
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
		made int
	}{
		"answers":                   {made: 1},
		"late, then broken off":     {errs: []error{late, nil, serviceerror.NewCanceled("RST_STREAM"), serviceerror.NewUnavailable("starting"), nil}, made: 1},
		"refuses the attributes":    {errs: []error{nil, denied}, want: denied, made: 1},
		"does not answer, ever":     {errs: []error{late, late, late, late, late, late, late}, want: late},
		"answers at the last try":   {errs: []error{late, late, late, late}, made: 1},
		"refuses after it was late": {errs: []error{late, denied}, want: denied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := &starting{errs: c.errs}
				added, made, err := Prepare(t.Context(), server, "default", "perennial", Sweep{})
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					assert.Equal(t, c.made, server.made)
					return
				}
				require.NoError(t, err)
				assert.True(t, made)
				assert.NotEmpty(t, added)
				assert.Equal(t, c.made, server.made)
				assert.Empty(t, server.errs)
			})
		})
	}
}

func (s *starting) GetSearchAttributes(context.Context) (*workflowservice.GetSearchAttributesResponse, error) {
	if s.have == nil {
		return nil, serviceerror.NewUnimplemented("no")
	}
	keys := map[string]enumspb.IndexedValueType{}
	for _, name := range s.have {
		keys[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
	}
	return &workflowservice.GetSearchAttributesResponse{Keys: keys}, nil
}

// TestAttributesByHand: where no program may add search attributes, as on Temporal Cloud,
// the schedule is made all the same, and the error names those that a person must add.
func TestAttributesByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		refusal error
		have    []string
		missing []string
	}{
		"no operator's service":      {serviceerror.NewUnimplemented("unknown service"), nil, AttributeNames()},
		"no permission, one missing": {serviceerror.NewPermissionDenied("no", ""), AttributeNames()[1:], AttributeNames()[:1]},
		"all were added by hand":     {serviceerror.NewPermissionDenied("no", ""), AttributeNames(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &starting{errs: []error{nil, c.refusal}, have: c.have}
			added, made, err := Prepare(t.Context(), server, "prod.acct", "perennial", Sweep{})
			assert.Empty(t, added)
			assert.True(t, made)
			assert.Equal(t, 1, server.made)
			if c.missing == nil {
				require.NoError(t, err)
				return
			}
			require.Equal(t, perennial.CodeInvalid, perennial.CodeOf(err))
			assert.ErrorContains(t, err, "namespace prod.acct: add "+strings.Join(c.missing, ", ")+" with its own tool")
		})
	}
}
