-- +goose Up
-- A bound connect session stores its grant only after the product has shown, with a code
-- that the browser brought back and a verifier, that the consent is its own user's. The
-- sealed reply waits in reply_sealed, and lease_until says until when.
--
-- Adding columns takes a lock for a moment, which waits for every running transaction, and
-- every later statement would wait behind it. So it waits for 100 ms only, and tries again.
-- +goose StatementBegin
DO $$
BEGIN
  SET LOCAL lock_timeout = '100ms';
  FOR try IN 1..1000 LOOP
    BEGIN
      ALTER TABLE connect_sessions
        ADD COLUMN challenge text NOT NULL DEFAULT '', -- S256 of the product's verifier; empty: shareable
        ADD COLUMN finish_code_digest text NOT NULL DEFAULT '', -- of the code of the newest request
        ADD COLUMN finish_tries integer NOT NULL DEFAULT 0, -- wrong verifiers with the right code
        ADD COLUMN finish_asked_at timestamptz, -- when the product showed both
        ADD COLUMN account_id text NOT NULL DEFAULT '', -- of the grant that waits, or waited
        ADD COLUMN revocation text NOT NULL DEFAULT ''; -- what became of a grant that nobody finished
      CREATE INDEX connect_sessions_unrevoked ON connect_sessions (expires_at) WHERE revocation IN ('failed', 'unsupported');
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_sleep(0.5);
    END;
  END LOOP;
  RAISE EXCEPTION 'the table connect_sessions was in use for ten minutes: end its longest transaction and migrate again';
END $$;
-- +goose StatementEnd

INSERT INTO schema_programs (version, oldest_program) VALUES (22, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 22;
DROP INDEX connect_sessions_unrevoked;
ALTER TABLE connect_sessions DROP COLUMN challenge;
ALTER TABLE connect_sessions DROP COLUMN finish_code_digest;
ALTER TABLE connect_sessions DROP COLUMN finish_tries;
ALTER TABLE connect_sessions DROP COLUMN finish_asked_at;
ALTER TABLE connect_sessions DROP COLUMN account_id;
ALTER TABLE connect_sessions DROP COLUMN revocation;
