-- +goose Up
-- What counts against an app, and what does not.
--
-- Since when a connection's tokens are a caller's that this app has never used with
-- success; null: they came from a code exchange or a refresh.
ALTER TABLE connections ADD COLUMN unproven_since datetime;

-- The last failure of each connection whose failures may be its app's.
CREATE TABLE failures (
  app           text NOT NULL,
  host          text NOT NULL,
  connection_id text NOT NULL,
  tenant_id     text NOT NULL,
  kind          text NOT NULL,
  code          text NOT NULL,
  was_well      boolean NOT NULL,
  since         datetime NOT NULL,
  failed_at     datetime NOT NULL,
  PRIMARY KEY (app, host, connection_id)
);
CREATE INDEX failures_at ON failures (app, host, failed_at);

CREATE TABLE circuits_new (
  app           text NOT NULL,
  host          text NOT NULL,
  reason        text NOT NULL DEFAULT '' CHECK (reason IN ('', 'misconfigured', 'unavailable', 'rejected')),
  code          text NOT NULL DEFAULT '',
  opened_at     datetime,
  next_probe_at datetime,
  probes        integer NOT NULL DEFAULT 0,
  last_canary   text NOT NULL DEFAULT '',
  connections   bigint NOT NULL DEFAULT 0,
  failed        text NOT NULL DEFAULT '[]',
  failed_reason text NOT NULL DEFAULT '',
  failed_since  datetime,
  slow_until    datetime,
  updated_at    datetime NOT NULL,
  unproven_only boolean NOT NULL DEFAULT false,
  PRIMARY KEY (app, host)
);
INSERT INTO circuits_new (app, host, reason, code, opened_at, next_probe_at, probes, last_canary, connections, failed, failed_reason, failed_since, slow_until, updated_at) SELECT app, host, reason, code, opened_at, next_probe_at, probes, last_canary, connections, failed, failed_reason, failed_since, slow_until, updated_at FROM circuits;
DROP TABLE circuits;
ALTER TABLE circuits_new RENAME TO circuits;

-- The refusal hold keeps back what was refused since then; null: everything.
ALTER TABLE apps ADD COLUMN hold_since datetime;

-- The tenants whose imported tokens were refused in numbers.
CREATE TABLE import_holds (
  app       text NOT NULL,
  tenant_id text NOT NULL,
  held_at   datetime NOT NULL,
  PRIMARY KEY (app, tenant_id)
);

INSERT INTO schema_programs (version, oldest_program) VALUES (10, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 10;
DROP TABLE import_holds;
ALTER TABLE apps DROP COLUMN hold_since;
UPDATE circuits SET reason = 'unavailable' WHERE reason = 'rejected';
CREATE TABLE circuits_new (
  app           text NOT NULL,
  host          text NOT NULL,
  reason        text NOT NULL DEFAULT '' CHECK (reason IN ('', 'misconfigured', 'unavailable')),
  code          text NOT NULL DEFAULT '',
  opened_at     datetime,
  next_probe_at datetime,
  probes        integer NOT NULL DEFAULT 0,
  last_canary   text NOT NULL DEFAULT '',
  connections   bigint NOT NULL DEFAULT 0,
  failed        text NOT NULL DEFAULT '[]',
  failed_reason text NOT NULL DEFAULT '',
  failed_since  datetime,
  slow_until    datetime,
  updated_at    datetime NOT NULL,
  PRIMARY KEY (app, host)
);
INSERT INTO circuits_new (app, host, reason, code, opened_at, next_probe_at, probes, last_canary, connections, failed, failed_reason, failed_since, slow_until, updated_at) SELECT app, host, reason, code, opened_at, next_probe_at, probes, last_canary, connections, failed, failed_reason, failed_since, slow_until, updated_at FROM circuits;
DROP TABLE circuits;
ALTER TABLE circuits_new RENAME TO circuits;
DROP TABLE failures;
ALTER TABLE connections DROP COLUMN unproven_since;
