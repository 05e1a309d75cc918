-- +goose Up
-- Of an app with several client secrets: the digest of the one that its provider accepts,
-- and since when which connection tries the others. No secret is stored.
CREATE TABLE client_secrets (
  app        text NOT NULL PRIMARY KEY,
  digest     text NOT NULL DEFAULT '',
  learnt_at  datetime,
  trial_by   text NOT NULL DEFAULT '',
  trial_at   datetime
);

INSERT INTO schema_programs (version, oldest_program) VALUES (18, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 18;
DROP TABLE client_secrets;
