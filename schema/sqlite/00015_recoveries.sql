-- +goose Up
-- Of a circuit: when the recovery of a connection that had failed for long last let others
-- of its kind through.
ALTER TABLE circuits ADD COLUMN recovered_at datetime;
-- Of an app: the next rate slot that an unproven connection may have while others wait.
ALTER TABLE apps ADD COLUMN unproven_slot_at datetime;

INSERT INTO schema_programs (version, oldest_program) VALUES (15, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 15;
ALTER TABLE apps DROP COLUMN unproven_slot_at;
ALTER TABLE circuits DROP COLUMN recovered_at;
