-- +goose Up
-- Due by app, and not before a wait is over: who looks for the due connections of one
-- app reads neither those of another, nor those that wait for a provider that is away,
-- which in an outage are all there are.
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (app, GREATEST(next_refresh_at, next_attempt_at)) WHERE status = 'active';

INSERT INTO schema_programs (version, oldest_program) VALUES (8, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 8;
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (next_refresh_at) WHERE status = 'active';
