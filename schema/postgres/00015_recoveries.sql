-- +goose Up
-- Of a circuit: when the recovery of a connection that had failed for long last let others
-- of its kind through. Of an app: the next rate slot that an unproven connection may have
-- while others wait.
--
-- Adding a column takes a lock for a moment, which waits for every running transaction,
-- and every later statement would wait behind it. So it waits for 100 ms only, and tries
-- again.
-- +goose StatementBegin
DO $$
BEGIN
  SET LOCAL lock_timeout = '100ms';
  FOR try IN 1..1000 LOOP
    BEGIN
      ALTER TABLE circuits ADD COLUMN recovered_at timestamptz;
      ALTER TABLE apps ADD COLUMN unproven_slot_at timestamptz;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the tables circuits and apps were in use for ten minutes: end the longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (15, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 15;
ALTER TABLE apps DROP COLUMN unproven_slot_at;
ALTER TABLE circuits DROP COLUMN recovered_at;
