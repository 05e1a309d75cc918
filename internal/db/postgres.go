package db

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgres returns a pool for the server that url names. It connects once, to learn
// whether a pooler such as PgBouncer stands in front of the server.
//
// Behind a pooler in transaction mode, two statements of one connection may reach two
// sessions, so statements are not prepared by name. The server then plans each of them
// anew, which costs more than running it; a direct connection keeps its prepared
// statements (docs/decisions/0020-poolers.md). default_query_exec_mode in the URL
// overrides both.
func openPostgres(ctx context.Context, url string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "default_query_exec_mode=") {
		pooled, err := behindPooler(ctx, config)
		if err != nil {
			return nil, err
		}
		if pooled {
			config.DefaultQueryExecMode = pgx.QueryExecModeExec
		}
	}
	return stdlib.OpenDB(*config), nil
}

// behindPooler reports whether a pooler answers instead of the server: its cancel key
// names another process than the session's own. A proxy that only passes bytes on, as a
// load balancer does, is not a pooler.
func behindPooler(ctx context.Context, config *pgx.ConnConfig) (bool, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close(ctx) }() // its answer has arrived already
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid); err != nil {
		return false, fmt.Errorf("ask the server for its process: %w", err)
	}
	return pid != conn.PgConn().PID(), nil
}
