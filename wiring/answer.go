package wiring

import (
	"context"
	"errors"
	"time"

	"github.com/perennial-oauth/perennial/workflows"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"google.golang.org/grpc/codes"
)

// askTemporal asks Temporal for a workflow that does not exist. Unlike a health check,
// that takes our credentials, the namespace and Temporal's database. Its result is nil if
// all of them are well.
func askTemporal(ctx context.Context, c client.Client, taskQueue string) error {
	_, err := c.DescribeWorkflowExecution(ctx, workflows.ID("probe/"+taskQueue), "")
	if missing := (*serviceerror.NotFound)(nil); errors.As(err, &missing) {
		return nil
	}
	return err
}

// answerOf names what Temporal answered, without the answer's text, which may repeat what
// was sent: "OK", the code of a refusal as "PermissionDenied", or "no answer".
func answerOf(err error) string {
	switch code := serviceerror.ToStatus(err).Code(); code {
	case codes.OK:
		return "OK"
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return noAnswer
	default:
		return code.String()
	}
}

const noAnswer = "no answer"

// refused reports whether Temporal answered, and refuses our credentials.
func refused(answer string) bool {
	return answer == codes.PermissionDenied.String() || answer == codes.Unauthenticated.String()
}

// answersSince says since when a server has not answered, or what it answered instead;
// see answerOf. A nil answer is none.
func answersSince(answer *string, at time.Time) string {
	says := "does not answer"
	if answer != nil && *answer != noAnswer && *answer != codes.OK.String() {
		says = "answers " + *answer
	}
	return says + " since " + at.UTC().Format(time.RFC3339)
}
