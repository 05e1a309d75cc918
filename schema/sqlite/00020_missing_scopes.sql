-- +goose Up
-- The permissions that a connection's grant had, that its app requires, and that a reply to
-- a refresh no longer named; separated by spaces.
ALTER TABLE connections ADD COLUMN missing_scopes text NOT NULL DEFAULT '';

INSERT INTO schema_programs (version, oldest_program) VALUES (20, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 20;
ALTER TABLE connections DROP COLUMN missing_scopes;
