-- +goose Up
-- Due by app, and not before a wait is over: who looks for the due connections of one
-- app reads neither those of another, nor those that wait for a provider that is away,
-- which in an outage are all there are. It is no partial index: before a table's first
-- statistics those pass for tiny, and who claims one connection by its id read this one
-- from end to end.
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (app, status, GREATEST(next_refresh_at, next_attempt_at));

INSERT INTO schema_programs (version, oldest_program) VALUES (8, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 8;
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (next_refresh_at) WHERE status = 'active';
