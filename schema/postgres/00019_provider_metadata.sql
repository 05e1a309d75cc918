-- +goose Up
-- What an app's provider says about itself: the metadata in use, and those that differ and
-- wait until an operator accepts them.
CREATE TABLE provider_metadata (
  app           text NOT NULL,
  source        text NOT NULL,
  document      text NOT NULL,
  read_at       timestamptz NOT NULL,
  accepted_at   timestamptz,
  changed       text NOT NULL DEFAULT '',
  changed_at    timestamptz,
  checked_at    timestamptz NOT NULL,
  next_check_at timestamptz NOT NULL,
  problem       text NOT NULL DEFAULT '',
  problem_at    timestamptz,
  PRIMARY KEY (app, source)
);

-- The clients that authorization servers have registered for apps without a client_id, once
-- for all processes.
CREATE TABLE provider_clients (
  app               text NOT NULL,
  issuer            text NOT NULL,
  registration      bigint NOT NULL DEFAULT 0,
  kind              text NOT NULL DEFAULT '',
  client_id         text NOT NULL DEFAULT '',
  secret_sealed     bytea,
  auth_method       text NOT NULL DEFAULT '',
  redirect_uri      text NOT NULL DEFAULT '',
  registered_at     timestamptz,
  secret_expires_at timestamptz,
  rejected_at       timestamptz,
  claimed_by        text NOT NULL DEFAULT '',
  claimed_at        timestamptz,
  PRIMARY KEY (app, issuer)
);

INSERT INTO schema_programs (version, oldest_program) VALUES (19, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 19;
DROP TABLE provider_clients;
DROP TABLE provider_metadata;
