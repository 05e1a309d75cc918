-- +goose Up
CREATE TABLE connections (
  id                       text PRIMARY KEY,
  tenant_id                text NOT NULL,
  app                      text NOT NULL,
  provider                 text NOT NULL,
  host                     text NOT NULL,
  account_id               text NOT NULL,
  status                   text NOT NULL CHECK (status IN ('active', 'reconnect_required', 'paused', 'disconnected')),
  reason                   text NOT NULL DEFAULT '',
  health                   text NOT NULL CHECK (health IN ('healthy', 'failing')),
  failing_code             text NOT NULL DEFAULT '',
  failing_since            datetime,
  generation               bigint NOT NULL CHECK (generation > 0),
  access_token_sealed      blob,
  refresh_token_sealed     blob,
  refresh_token_digest     text NOT NULL DEFAULT '',
  client_id_digest         text NOT NULL DEFAULT '',
  token_type               text NOT NULL DEFAULT '',
  scopes                   text NOT NULL DEFAULT '',
  metadata                 text NOT NULL DEFAULT '{}',
  expires_at               datetime,
  refresh_token_expires_at datetime,
  grant_expires_at         datetime,
  next_refresh_at          datetime,
  next_attempt_at          datetime,
  last_refreshed_at        datetime,
  last_used_at             datetime,
  last_unauthorized_at     datetime,
  refresh_count            bigint NOT NULL DEFAULT 0,
  failure_count            integer NOT NULL DEFAULT 0,
  attempt_id               text NOT NULL DEFAULT '',
  attempt_digest           text NOT NULL DEFAULT '',
  attempt_started_at       datetime,
  attempt_deadline         datetime,
  attempt_sent             boolean NOT NULL DEFAULT false,
  ambiguous_since          datetime,
  ambiguous_digest         text NOT NULL DEFAULT '',
  suspect_since            datetime,
  suspect_digest           text NOT NULL DEFAULT '',
  confirm_at               datetime,
  created_at               datetime NOT NULL,
  updated_at               datetime NOT NULL
);
-- One live connection per account; a disconnected row keeps its id for a later
-- connect.
CREATE UNIQUE INDEX connections_live_account ON connections (tenant_id, app, account_id) WHERE status <> 'disconnected';
CREATE INDEX connections_due ON connections (next_refresh_at) WHERE status = 'active';

CREATE TABLE attempts (
  id             text PRIMARY KEY,
  connection_id  text NOT NULL,
  generation     bigint NOT NULL,
  trigger_name   text NOT NULL,
  outcome        text NOT NULL,
  error_code     text NOT NULL DEFAULT '',
  http_status    integer NOT NULL DEFAULT 0,
  retry_after_ms bigint NOT NULL DEFAULT 0,
  duration_ms    bigint NOT NULL DEFAULT 0,
  life_left_ms   bigint NOT NULL DEFAULT 0,
  lateness_ms    bigint NOT NULL DEFAULT 0,
  retries        integer NOT NULL DEFAULT 0,
  run_id         text NOT NULL DEFAULT '',
  trace_id       text NOT NULL DEFAULT '',
  request_id     text NOT NULL DEFAULT '',
  started_at     datetime NOT NULL
);
CREATE INDEX attempts_of_connection ON attempts (connection_id, started_at);

-- The oldest program, by the newest schema version that it knows, that may run
-- on each version.
CREATE TABLE schema_programs (
  version        integer PRIMARY KEY,
  oldest_program integer NOT NULL
);
INSERT INTO schema_programs (version, oldest_program) VALUES (1, 1);

-- +goose Down
DROP TABLE schema_programs;
DROP TABLE attempts;
DROP TABLE connections;
