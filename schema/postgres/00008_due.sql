-- +goose NO TRANSACTION
-- Built beside running programs, which keep the old index until the new one is there,
-- and again from the start if a build was broken off.

-- +goose Up
-- Due by app, and not before a wait is over: who looks for the due connections of one
-- app reads neither those of another, nor those that wait for a provider that is away,
-- which in an outage are all there are. It is no partial index: before a table's first
-- statistics those pass for tiny, and who claims one connection by its id read this one
-- from end to end.
DROP INDEX CONCURRENTLY IF EXISTS connections_due_new;
CREATE INDEX CONCURRENTLY connections_due_new ON connections (app, status, GREATEST(next_refresh_at, next_attempt_at));
DROP INDEX CONCURRENTLY IF EXISTS connections_due;
ALTER INDEX connections_due_new RENAME TO connections_due;

INSERT INTO schema_programs (version, oldest_program) VALUES (8, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 8;
DROP INDEX CONCURRENTLY IF EXISTS connections_due_new;
CREATE INDEX CONCURRENTLY connections_due_new ON connections (next_refresh_at) WHERE status = 'active';
DROP INDEX CONCURRENTLY IF EXISTS connections_due;
ALTER INDEX connections_due_new RENAME TO connections_due;
