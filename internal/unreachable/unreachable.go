// Package unreachable tells the errors of a server that does not answer from all
// others.
package unreachable

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"go.temporal.io/api/serviceerror"
)

// Is reports whether err says that a server (the database, Temporal) did not answer, or
// stopped before it did. The same call may succeed later.
func Is(err error) bool {
	if err == nil {
		return false
	}
	var dial *net.OpError
	var name *net.DNSError
	var network net.Error
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	var unavailable *serviceerror.Unavailable
	var deadline *serviceerror.DeadlineExceeded
	switch {
	case errors.As(err, &pg):
		return leaving(pg.Code)
	case errors.As(err, &dial):
		return dial.Op != "listen"
	case errors.As(err, &network) && network.Timeout(): // every syscall.Errno is a net.Error, even that of a full disk
		return true
	case errors.As(err, &name), errors.As(err, &connect), errors.As(err, &unavailable), errors.As(err, &deadline):
		return true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return strings.Contains(err.Error(), "sql: database is closed") || strings.Contains(err.Error(), "conn closed")
}

// leaving reports whether PostgreSQL's error code says that it is stopping, starting or
// crashed, or has no free connection. See appendix A of its manual.
func leaving(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", // admin_shutdown, crash_shutdown, cannot_connect_now
		"57P05",          // idle_session_timeout
		"53300", "53400": // too_many_connections, configuration_limit_exceeded
		return true
	}
	return strings.HasPrefix(code, "08") // connection exceptions
}
