-- +goose NO TRANSACTION
-- Built beside running programs, and again from the start if a build was broken off.

-- +goose Up
-- In the order in which waiting connections are let go.
DROP INDEX CONCURRENTLY IF EXISTS connections_turn;
CREATE INDEX CONCURRENTLY connections_turn ON connections (app, next_attempt_at, id) WHERE queued_at IS NOT NULL;

INSERT INTO schema_programs (version, oldest_program) VALUES (7, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 7;
DROP INDEX CONCURRENTLY IF EXISTS connections_turn;
