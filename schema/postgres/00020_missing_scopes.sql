-- +goose Up
-- The permissions that a connection's grant had, that its app requires, and that a reply to
-- a refresh no longer named; separated by spaces. A program that does not know this column
-- leaves it as it is; the next save of one that does judges anew.
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
      ALTER TABLE connections ADD COLUMN missing_scopes text NOT NULL DEFAULT '';
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connections was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (20, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 20;
ALTER TABLE connections DROP COLUMN missing_scopes;
