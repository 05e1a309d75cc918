-- +goose Up
-- Two waits in a row. Until when the wait that next_attempt_at names is our own, which an
-- operator or a probe may shorten: both are the same then.
ALTER TABLE connections ADD COLUMN backoff_until datetime;
-- Of a circuit: the connection that was called to make the next probe, and when.
ALTER TABLE circuits ADD COLUMN called_canary text NOT NULL DEFAULT '';
ALTER TABLE circuits ADD COLUMN called_at datetime;
-- Of an app: since when an operator has stopped it, and what an operator did last.
ALTER TABLE apps ADD COLUMN stopped_at datetime;
ALTER TABLE apps ADD COLUMN operator_did text NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN operator_at datetime;

INSERT INTO schema_programs (version, oldest_program) VALUES (14, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 14;
ALTER TABLE apps DROP COLUMN operator_at;
ALTER TABLE apps DROP COLUMN operator_did;
ALTER TABLE apps DROP COLUMN stopped_at;
ALTER TABLE circuits DROP COLUMN called_at;
ALTER TABLE circuits DROP COLUMN called_canary;
ALTER TABLE connections DROP COLUMN backoff_until;
