-- +goose Up
-- When the last forced refresh of a connection began, and how many there were in a row: a
-- caller asked for a new token set before one was due. Null and 0: none since the last
-- other refresh. A program that does not know these columns neither counts nor waits.
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
      ALTER TABLE connections ADD COLUMN forced_at timestamptz, ADD COLUMN forced_count integer NOT NULL DEFAULT 0;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connections was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (16, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 16;
ALTER TABLE connections DROP COLUMN forced_count;
ALTER TABLE connections DROP COLUMN forced_at;
