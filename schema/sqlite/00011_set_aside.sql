-- +goose Up
-- A newer token set of a connection that was received and cannot be stored now: its
-- generation, and until when the refresh token before it is not presented.
ALTER TABLE connections ADD COLUMN set_aside_generation bigint NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN set_aside_until datetime;

INSERT INTO schema_programs (version, oldest_program) VALUES (11, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 11;
ALTER TABLE connections DROP COLUMN set_aside_until;
ALTER TABLE connections DROP COLUMN set_aside_generation;
