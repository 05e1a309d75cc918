-- +goose Up
-- A bound connect session stores its grant only after the product has shown, with a code
-- that the browser brought back and a verifier, that the consent is its own user's. The
-- sealed reply waits in reply_sealed, and lease_until says until when.
ALTER TABLE connect_sessions ADD COLUMN challenge text NOT NULL DEFAULT ''; -- S256 of the product's verifier; empty: shareable
ALTER TABLE connect_sessions ADD COLUMN finish_code_digest text NOT NULL DEFAULT ''; -- of the code of the newest request
ALTER TABLE connect_sessions ADD COLUMN finish_tries integer NOT NULL DEFAULT 0; -- wrong verifiers with the right code
ALTER TABLE connect_sessions ADD COLUMN finish_asked_at datetime; -- when the product showed both
ALTER TABLE connect_sessions ADD COLUMN account_id text NOT NULL DEFAULT ''; -- of the grant that waits, or waited
ALTER TABLE connect_sessions ADD COLUMN revocation text NOT NULL DEFAULT ''; -- what became of a grant that nobody finished
CREATE INDEX connect_sessions_unrevoked ON connect_sessions (expires_at) WHERE revocation IN ('failed', 'unsupported');

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
