-- +goose Up
-- When the last forced refresh of a connection began, and how many there were in a row: a
-- caller asked for a new token set before one was due.
ALTER TABLE connections ADD COLUMN forced_at datetime;
ALTER TABLE connections ADD COLUMN forced_count integer NOT NULL DEFAULT 0;

INSERT INTO schema_programs (version, oldest_program) VALUES (16, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 16;
ALTER TABLE connections DROP COLUMN forced_count;
ALTER TABLE connections DROP COLUMN forced_at;
