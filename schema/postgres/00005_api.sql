-- +goose Up
-- The HTTP API: its keys, and what requests with an Idempotency-Key came to.
CREATE TABLE api_keys (
  id           text PRIMARY KEY,
  tenant_id    text NOT NULL CHECK (tenant_id <> ''),
  name         text NOT NULL DEFAULT '',
  scopes       text NOT NULL, -- separated by spaces
  secret_hash  bytea NOT NULL, -- SHA-256 of 256 random bits
  created_at   timestamptz NOT NULL,
  last_used_at timestamptz, -- written at most once an hour
  revoked_at   timestamptz
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id);

-- No request's body is kept, and no token: fingerprints are keyed, answers hold no
-- secret.
CREATE TABLE idempotency_keys (
  api_key_id  text NOT NULL,
  key_hash    text NOT NULL,
  fingerprint text NOT NULL,
  status      integer NOT NULL DEFAULT 0, -- of HTTP; 0: under way, or cut off
  answer      text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL,
  PRIMARY KEY (api_key_id, key_hash)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (5, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 5;
DROP TABLE idempotency_keys;
DROP TABLE api_keys;
