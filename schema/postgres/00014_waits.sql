-- +goose Up
-- Two waits in a row. Until when the wait that next_attempt_at names is our own, which an
-- operator or a probe may shorten: both are the same then. A program that does not know
-- this column writes next_attempt_at alone, and its waits count as the provider's.
--
-- Of a circuit: the connection that was called to make the next probe, and when. Of an
-- app: since when an operator has stopped it, and what an operator did last.
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
      ALTER TABLE connections ADD COLUMN backoff_until timestamptz;
      ALTER TABLE circuits ADD COLUMN called_canary text NOT NULL DEFAULT '', ADD COLUMN called_at timestamptz;
      ALTER TABLE apps ADD COLUMN stopped_at timestamptz, ADD COLUMN operator_did text NOT NULL DEFAULT '', ADD COLUMN operator_at timestamptz;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connections was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (14, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 14;
ALTER TABLE apps DROP COLUMN operator_at, DROP COLUMN operator_did, DROP COLUMN stopped_at;
ALTER TABLE circuits DROP COLUMN called_at, DROP COLUMN called_canary;
ALTER TABLE connections DROP COLUMN backoff_until;
