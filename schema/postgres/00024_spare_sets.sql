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

INSERT INTO schema_programs (version, oldest_program) VALUES (24, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 24;
DROP TABLE spare_sets;
