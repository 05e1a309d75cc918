-- +goose Up
-- Telling people: webhook endpoints, and what is delivered to them.
CREATE TABLE webhook_endpoints (
  id                text PRIMARY KEY,
  tenant_id         text NOT NULL DEFAULT '', -- empty: every tenant's events, and those of apps
  url               text NOT NULL,
  types             text NOT NULL DEFAULT '', -- separated by spaces; empty: all
  secret_sealed     bytea, -- null: removed
  secret_version    bigint NOT NULL DEFAULT 1, -- of secret_sealed; the old secret's is one less
  old_secret_sealed bytea,
  old_secret_until  timestamptz,
  disabled_at       timestamptz,
  created_at        timestamptz NOT NULL
);

-- One line for each event and each endpoint that is to hear of it.
CREATE TABLE webhook_deliveries (
  event_id     text NOT NULL,
  endpoint_id  text NOT NULL,
  state        text NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
  tries        integer NOT NULL DEFAULT 0,
  last_status  integer NOT NULL DEFAULT 0,
  last_error   text NOT NULL DEFAULT '',
  next_try_at  timestamptz, -- null while pending: nobody was asked to deliver it yet
  delivered_at timestamptz,
  created_at   timestamptz NOT NULL,
  PRIMARY KEY (event_id, endpoint_id)
);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (next_try_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (created_at) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_created ON webhook_deliveries (created_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (4, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 4;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_endpoints;
