-- +goose NO TRANSACTION
-- What counts against an app, and what does not. It runs beside running programs, and
-- again from the start if it was broken off.

-- +goose Up
-- Since when a connection's tokens are a caller's that this app has never used with
-- success; null: they came from a code exchange or a refresh. Connections from before
-- count as proven: those that never worked have failures of their own that say so.
--
-- Whoever waits for the table's lock makes everybody behind it wait too. So each try is
-- short.
-- +goose StatementBegin
DO $$
BEGIN
  SET LOCAL lock_timeout = '200ms';
  FOR try IN 1..3000 LOOP
    BEGIN
      ALTER TABLE connections ADD COLUMN IF NOT EXISTS unproven_since timestamptz;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connections stayed locked for twenty minutes: end the long transaction and migrate again';
END $$;
-- +goose StatementEnd

-- The last failure of each connection whose failures may be its app's.
CREATE TABLE IF NOT EXISTS failures (
  app           text NOT NULL,
  host          text NOT NULL,
  connection_id text NOT NULL,
  tenant_id     text NOT NULL,
  kind          text NOT NULL,
  code          text NOT NULL,
  was_well      boolean NOT NULL,
  since         timestamptz NOT NULL,
  failed_at     timestamptz NOT NULL,
  PRIMARY KEY (app, host, connection_id)
);
CREATE INDEX IF NOT EXISTS failures_at ON failures (app, host, failed_at);

ALTER TABLE circuits ADD COLUMN IF NOT EXISTS unproven_only boolean NOT NULL DEFAULT false;
ALTER TABLE circuits DROP CONSTRAINT IF EXISTS circuits_reason_check;
ALTER TABLE circuits ADD CONSTRAINT circuits_reason_check CHECK (reason IN ('', 'misconfigured', 'unavailable', 'rejected'));

-- The refusal hold keeps back what was refused since then; null: everything.
ALTER TABLE apps ADD COLUMN IF NOT EXISTS hold_since timestamptz;

-- The tenants whose imported tokens were refused in numbers.
CREATE TABLE IF NOT EXISTS import_holds (
  app       text NOT NULL,
  tenant_id text NOT NULL,
  held_at   timestamptz NOT NULL,
  PRIMARY KEY (app, tenant_id)
);

INSERT INTO schema_programs (version, oldest_program) VALUES (10, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 10;
DROP TABLE IF EXISTS import_holds;
ALTER TABLE apps DROP COLUMN IF EXISTS hold_since;
UPDATE circuits SET reason = 'unavailable' WHERE reason = 'rejected';
ALTER TABLE circuits DROP CONSTRAINT IF EXISTS circuits_reason_check;
ALTER TABLE circuits ADD CONSTRAINT circuits_reason_check CHECK (reason IN ('', 'misconfigured', 'unavailable'));
ALTER TABLE circuits DROP COLUMN IF EXISTS unproven_only;
DROP TABLE IF EXISTS failures;
ALTER TABLE connections DROP COLUMN IF EXISTS unproven_since;
