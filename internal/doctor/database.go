package doctor

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/perennial-oauth/perennial"
	"github.com/perennial-oauth/perennial/config"
	"github.com/perennial-oauth/perennial/internal/db"
	"github.com/perennial-oauth/perennial/schema"
)

func schemaVersion(ctx context.Context, p *parts) ([]Finding, error) {
	d, err := p.database.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.CheckSchema(ctx); perennial.CodeOf(err) == perennial.CodeSchema {
		return one(wrong("", "%v", err))
	} else if err != nil {
		return nil, err
	}
	version, err := schema.Current(ctx, d.SQL)
	switch {
	case err != nil:
		return nil, err
	case version < schema.Version:
		return one(warning("run `perennial migrate`", "version %d; this program brings %d, and runs on %d too", version, schema.Version, schema.Oldest))
	case version > schema.Version:
		return one(well("version %d, of a newer program, on which this one runs", version))
	}
	return one(well("version %d, nothing pending", version))
}

// maxOffset is the offset of two clocks from which a client warns too.
const maxOffset = 30 * time.Second

func databaseAnswers(ctx context.Context, p *parts) ([]Finding, error) {
	if err := p.database.reason(ctx); err != nil {
		return one(unopened(err, "start it, or correct database_url; tokens in memory serve meanwhile"))
	}
	d := p.database.value
	before := time.Now()
	now, err := d.Now(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(before)
	offset := now.Sub(before.Add(took / 2)).Round(time.Millisecond)
	return []Finding{transport(p.cfg, d), aboutClock(took, offset)}, nil
}

func aboutClock(took, offset time.Duration) Finding {
	if offset.Abs() > maxOffset {
		return warning("set both clocks by NTP", "its clock is %s from this machine's", offset)
	}
	return well("it answers in %s; its clock is %s from this machine's; the line `processes` has those of other machines", took.Round(100*time.Microsecond), offset)
}

func transport(cfg *config.Config, d *db.DB) Finding {
	if d.Dialect == schema.SQLite {
		return warning("use PostgreSQL for anything but a trial", "SQLite, a file of this machine")
	}
	switch db.Transport(cfg.DatabaseURL) {
	case db.TransportLocal:
		return well("PostgreSQL on this machine")
	case db.TransportPlain:
		return warning("use sslmode=verify-full, unless the network between is trusted", "PostgreSQL on another machine, in plaintext as sslmode=disable states")
	case db.TransportEncrypted:
		return warning("use sslmode=verify-full with sslrootcert", "PostgreSQL on another machine, encrypted; its certificate is not verified (sslmode=require)")
	}
	return well("PostgreSQL on another machine, encrypted and verified")
}

func databasePool(ctx context.Context, p *parts) ([]Finding, error) {
	d, err := p.database.get(ctx)
	if err != nil {
		return nil, err
	}
	if d.Dialect == schema.SQLite {
		return one(well("SQLite has no limit of connections"))
	}
	var used, most, reserved int
	// Only sessions of clients, and few others, have a database. This column is shown
	// without any privilege.
	err = d.SQL.QueryRowContext(ctx, `SELECT count(*), current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int
		FROM pg_stat_activity WHERE datid IS NOT NULL`).Scan(&used, &most, &reserved)
	if err != nil {
		return nil, fmt.Errorf("read the database's connections: %w", err)
	}
	pool := cmp.Or(p.cfg.DatabasePool.MaxOpen, db.DefaultMaxOpen)
	seen := fmt.Sprintf("%d of the server's %d connections are in use; each process opens at most %d", used, most-reserved, pool)
	if used+pool > most-reserved {
		return one(warning("raise the server's max_connections, put a pooler in front, or lower database_pool.max_open", "%s: one more process may find none", seen))
	}
	return one(well("%s", seen))
}
