-- +goose Up
-- In the order in which waiting connections are let go.
CREATE INDEX connections_turn ON connections (app, next_attempt_at, id) WHERE queued_at IS NOT NULL;

INSERT INTO schema_programs (version, oldest_program) VALUES (7, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 7;
DROP INDEX connections_turn;
