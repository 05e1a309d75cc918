-- +goose NO TRANSACTION
-- Indexes for what lists and connects look for. Each is built beside running
-- programs, which go on reading and writing, and first drops what a build that was
-- broken off left. None names a column that the save of a healthy connection changes.

-- +goose Up
-- A tenant's connections, in the order of their ids.
DROP INDEX CONCURRENTLY IF EXISTS connections_of_tenant;
CREATE INDEX CONCURRENTLY connections_of_tenant ON connections (tenant_id, id);
-- The disconnected connection that a connect of its account revives.
DROP INDEX CONCURRENTLY IF EXISTS connections_disconnected_account;
CREATE INDEX CONCURRENTLY connections_disconnected_account ON connections (tenant_id, app, account_id) WHERE status = 'disconnected';
-- The few that a list by status or health is asked for.
DROP INDEX CONCURRENTLY IF EXISTS connections_not_active;
CREATE INDEX CONCURRENTLY connections_not_active ON connections (status, tenant_id, id) WHERE status <> 'active';
DROP INDEX CONCURRENTLY IF EXISTS connections_failing;
CREATE INDEX CONCURRENTLY connections_failing ON connections (tenant_id, id) WHERE health = 'failing';
-- The newest events, and those past their retention.
DROP INDEX CONCURRENTLY IF EXISTS outbox_created;
CREATE INDEX CONCURRENTLY outbox_created ON outbox (created_at, id);

INSERT INTO schema_programs (version, oldest_program) VALUES (9, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 9;
DROP INDEX CONCURRENTLY IF EXISTS outbox_created;
DROP INDEX CONCURRENTLY IF EXISTS connections_failing;
DROP INDEX CONCURRENTLY IF EXISTS connections_not_active;
DROP INDEX CONCURRENTLY IF EXISTS connections_disconnected_account;
DROP INDEX CONCURRENTLY IF EXISTS connections_of_tenant;
