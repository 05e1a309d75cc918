-- +goose Up
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (app, status, next_refresh_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (8, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 8;
DROP INDEX connections_due;
CREATE INDEX connections_due ON connections (next_refresh_at) WHERE status = 'active';
