-- +goose Up
-- What an app's provider says about itself: the metadata in use, and those that differ and
-- wait until an operator accepts them.
CREATE TABLE provider_metadata (
  app           text NOT NULL,
  source        text NOT NULL,
  document      text NOT NULL,
  read_at       datetime NOT NULL,
  accepted_at   datetime,
  changed       text NOT NULL DEFAULT '',
  changed_at    datetime,
  checked_at    datetime NOT NULL,
  next_check_at datetime NOT NULL,
  problem       text NOT NULL DEFAULT '',
  problem_at    datetime,
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
  secret_sealed     blob,
  auth_method       text NOT NULL DEFAULT '',
  redirect_uri      text NOT NULL DEFAULT '',
  registered_at     datetime,
  secret_expires_at datetime,
  rejected_at       datetime,
  claimed_by        text NOT NULL DEFAULT '',
  claimed_at        datetime,
  PRIMARY KEY (app, issuer)
);

INSERT INTO schema_programs (version, oldest_program) VALUES (19, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 19;
DROP TABLE provider_clients;
DROP TABLE provider_metadata;
