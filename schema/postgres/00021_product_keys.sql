-- +goose Up
-- A key of every tenant names its tenant in each request. Its tenant_id is '*', and says
-- nothing. A key that has one of these columns has its hash in digest and none in
-- secret_hash: a program that does not know them would take it for another key than it is,
-- and so finds none that matches.
-- +goose StatementBegin
DO $$
BEGIN
  SET LOCAL lock_timeout = '100ms';
  FOR try IN 1..1000 LOOP
    BEGIN
      ALTER TABLE api_keys
        ADD COLUMN every_tenant boolean NOT NULL DEFAULT false,
        ADD COLUMN apps text NOT NULL DEFAULT '', -- JSON; empty: every app
        ADD COLUMN expires_at timestamptz,
        ADD COLUMN digest bytea; -- SHA-256 of 256 random bits
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table api_keys was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

-- Migration 20 used to record this version.
INSERT INTO schema_programs (version, oldest_program) VALUES (21, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 21;
DELETE FROM api_keys WHERE digest IS NOT NULL;
ALTER TABLE api_keys DROP COLUMN every_tenant, DROP COLUMN apps, DROP COLUMN expires_at, DROP COLUMN digest;
