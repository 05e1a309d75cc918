package unreachable_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/perennial-oauth/perennial/internal/unreachable"
	"github.com/stretchr/testify/assert"
	"go.temporal.io/api/serviceerror"
)

func TestIs(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("something else"), false},
		{context.Canceled, false},
		{pg("23505"), false},                               // a duplicate: the server answered
		{pg("42P01"), false},                               // no such table
		{fmt.Errorf("%w: %w", io.EOF, pg("22P02")), false}, // what PostgreSQL said counts
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, true},
		{&net.OpError{Op: "listen", Err: syscall.EADDRINUSE}, false}, // our own address
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{&net.DNSError{Err: "no such host", Name: "db"}, true},
		{&fs.PathError{Op: "write", Path: "state", Err: syscall.ENOSPC}, false},
		{&fs.PathError{Op: "open", Path: "state", Err: syscall.EACCES}, false},
		{context.DeadlineExceeded, true},
		{driver.ErrBadConn, true},
		{io.ErrUnexpectedEOF, true},
		{errors.New("sql: database is closed"), true},
		{pg("57P01"), true},
		{pg("57P02"), true},
		{pg("57P03"), true},
		{pg("53300"), true},
		{pg("08006"), true},
		{serviceerror.NewUnavailable("x"), true},
		{serviceerror.NewDeadlineExceeded("x"), true},
		{serviceerror.NewNotFound("x"), false},
	} {
		assert.Equal(t, tc.want, unreachable.Is(tc.err), "%v", tc.err)
		if tc.err != nil {
			assert.Equal(t, tc.want, unreachable.Is(fmt.Errorf("load connection con_1: %w", tc.err)), "wrapped %v", tc.err)
		}
	}
}
