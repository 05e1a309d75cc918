package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/perennial-oauth/perennial"
	"github.com/stretchr/testify/assert"
	"go.temporal.io/api/serviceerror"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	of := func(code perennial.Code) error { return fmt.Errorf("do it: %w", perennial.Errorf(code, "x")) }
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{of(perennial.CodeInternal), 1},
		{context.Canceled, 1},
		{of(perennial.CodeInvalid), 2},
		{errors.Join(of(perennial.CodeInvalid), of(perennial.CodeInvalid)), 2},
		{serviceerror.NewNamespaceNotFound("nowhere"), 2},
		{serviceerror.NewPermissionDenied("no", ""), 2},
		{of(perennial.CodeNotFound), 3},
		{of(perennial.CodeConflict), 4},
		{of(perennial.CodeAccountMismatch), 4},
		{of(perennial.CodeSchema), 4},
		{of(perennial.CodeSealed), 4},
		{of(perennial.CodeReconnectRequired), 5},
		{of(perennial.CodePaused), 5},
		{of(perennial.CodeDisconnected), 5},
		{of(perennial.CodeUnavailable), 6},
		{fmt.Errorf("read the schema's version: %w", io.ErrUnexpectedEOF), 6},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, 6},
		{serviceerror.NewUnavailable("x"), 6},
	} {
		assert.Equal(t, tc.want, ExitCode(tc.err), "%v", tc.err)
	}
}
