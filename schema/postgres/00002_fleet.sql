-- +goose Up
-- What concerns many connections at once: circuits, limits, holds, events.
ALTER TABLE connections ADD COLUMN attempt_trigger text NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN generation_floor bigint NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN queued_at timestamptz;
ALTER TABLE connections ADD COLUMN idle_warned_days integer NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN idle_warned_for timestamptz;
ALTER TABLE connections ADD COLUMN grant_warned_days integer NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN grant_warned_for timestamptz;
CREATE INDEX connections_of_app ON connections (app, host);
CREATE INDEX connections_queued ON connections (app, host) WHERE queued_at IS NOT NULL;
CREATE INDEX connections_suspect ON connections (app) WHERE suspect_since IS NOT NULL;

CREATE TABLE circuits (
  app           text NOT NULL,
  host          text NOT NULL,
  reason        text NOT NULL DEFAULT '' CHECK (reason IN ('', 'misconfigured', 'unavailable')),
  code          text NOT NULL DEFAULT '',
  opened_at     timestamptz,
  next_probe_at timestamptz,
  probes        integer NOT NULL DEFAULT 0,
  last_canary   text NOT NULL DEFAULT '',
  connections   bigint NOT NULL DEFAULT 0,
  failed        text NOT NULL DEFAULT '[]',
  failed_reason text NOT NULL DEFAULT '',
  failed_since  timestamptz,
  slow_until    timestamptz,
  updated_at    timestamptz NOT NULL,
  PRIMARY KEY (app, host)
);

CREATE TABLE apps (
  app           text PRIMARY KEY,
  slot_at       timestamptz,
  backlog_at    timestamptz,
  slow_until    timestamptz,
  release_until timestamptz,
  hold_terminal boolean NOT NULL DEFAULT false,
  hold_reason   text NOT NULL DEFAULT '',
  held_at       timestamptz,
  muted_until   timestamptz,
  updated_at    timestamptz NOT NULL
);

-- The last first refusal of each connection.
CREATE TABLE first_refusals (
  app           text NOT NULL,
  connection_id text NOT NULL,
  refused_at    timestamptz NOT NULL,
  PRIMARY KEY (app, connection_id)
);
CREATE INDEX first_refusals_at ON first_refusals (app, refused_at);

CREATE TABLE outbox (
  id            text PRIMARY KEY,
  type          text NOT NULL,
  app           text NOT NULL,
  tenant_id     text NOT NULL DEFAULT '',
  connection_id text NOT NULL DEFAULT '',
  body          text NOT NULL,
  created_at    timestamptz NOT NULL,
  delivered_at  timestamptz,
  tries         integer NOT NULL DEFAULT 0,
  last_error    text NOT NULL DEFAULT ''
);
CREATE INDEX outbox_undelivered ON outbox (created_at) WHERE delivered_at IS NULL;
CREATE INDEX outbox_of_connection ON outbox (connection_id, created_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (2, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 2;
DROP TABLE outbox;
DROP TABLE first_refusals;
DROP TABLE apps;
DROP TABLE circuits;
DROP INDEX connections_suspect;
DROP INDEX connections_queued;
DROP INDEX connections_of_app;
ALTER TABLE connections DROP COLUMN grant_warned_for;
ALTER TABLE connections DROP COLUMN grant_warned_days;
ALTER TABLE connections DROP COLUMN idle_warned_for;
ALTER TABLE connections DROP COLUMN idle_warned_days;
ALTER TABLE connections DROP COLUMN queued_at;
ALTER TABLE connections DROP COLUMN generation_floor;
ALTER TABLE connections DROP COLUMN attempt_trigger;
