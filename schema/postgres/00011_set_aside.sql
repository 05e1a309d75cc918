-- +goose Up
-- A newer token set of a connection that was received and cannot be stored now: its
-- generation, and until when the refresh token before it is not presented.
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
      ALTER TABLE connections ADD COLUMN set_aside_generation bigint NOT NULL DEFAULT 0, ADD COLUMN set_aside_until timestamptz;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connections was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (11, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 11;
ALTER TABLE connections DROP COLUMN set_aside_until, DROP COLUMN set_aside_generation;
