-- +goose Up
-- Token sets that a provider gave for a refresh token that another attempt had presented
-- as well: of each connection the newest. The row has the other attempt's. A set is
-- useless once the row's refresh token has worked.
CREATE TABLE spare_sets (
  connection_id        text PRIMARY KEY,
  generation           bigint NOT NULL, -- of the row and of this set
  row_digest           text NOT NULL,   -- of the row's refresh token
  attempt_id           text NOT NULL,
  access_token_sealed  bytea NOT NULL,
  refresh_token_sealed bytea NOT NULL,
  refresh_token_digest text NOT NULL,
  expires_at           timestamptz,     -- of its access token; null: not known
  received_at          timestamptz NOT NULL
);

-- The live connection of an app that a refresh token belongs to, as it came from a consent,
-- an import or a caller, and when. Refreshes do not write here. Of connections with equal
-- tokens from before, one has a row.
CREATE TABLE token_owners (
  app           text NOT NULL,
  digest        text NOT NULL, -- of the refresh token
  connection_id text NOT NULL,
  account_id    text NOT NULL,
  owned_at      timestamptz NOT NULL,
  PRIMARY KEY (app, digest)
);
INSERT INTO token_owners (app, digest, connection_id, account_id, owned_at)
  SELECT app, refresh_token_digest, id, account_id, created_at FROM connections
  WHERE status <> 'disconnected' AND refresh_token_digest <> '' ORDER BY id
  ON CONFLICT DO NOTHING;
CREATE INDEX token_owners_connection ON token_owners (connection_id);
CREATE INDEX token_owners_account ON token_owners (app, account_id);

INSERT INTO schema_programs (version, oldest_program) VALUES (23, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 23;
DROP TABLE token_owners;
DROP TABLE spare_sets;
