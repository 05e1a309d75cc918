-- +goose Up
-- Which database this is, which Temporal refreshes its connections, and the processes
-- that do it.

-- One row, written by `perennial setup`. A restore takes the number back, and Temporal's
-- copy of it shows that.
CREATE TABLE installation (
  one         smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  database_id text NOT NULL CHECK (database_id <> ''),
  number      bigint NOT NULL DEFAULT 0,
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL
);

-- Each Temporal that refreshes this database's connections: mostly one.
CREATE TABLE bindings (
  cluster_id   text NOT NULL,
  namespace_id text NOT NULL,
  task_queue   text NOT NULL,
  namespace    text NOT NULL DEFAULT '',
  bound_at     timestamptz NOT NULL,
  verified_at  timestamptz NOT NULL,
  PRIMARY KEY (namespace_id, task_queue)
);

-- Under which address each of them was verified: decides while Temporal is away.
CREATE TABLE verified_addresses (
  address      text NOT NULL,
  namespace    text NOT NULL,
  task_queue   text NOT NULL,
  namespace_id text NOT NULL,
  verified_at  timestamptz NOT NULL,
  PRIMARY KEY (address, namespace, task_queue)
);

-- Connections that were ended on purpose: only their workflows end if the row is gone.
CREATE TABLE tombstones (
  connection_id text PRIMARY KEY,
  cause         text NOT NULL CHECK (cause IN ('disconnected', 'erased')),
  written_at    timestamptz NOT NULL
);
CREATE INDEX tombstones_written ON tombstones (written_at);

-- One row a process, written each minute. No secret.
CREATE TABLE processes (
  id              text PRIMARY KEY,
  kind            text NOT NULL,
  host            text NOT NULL DEFAULT '',
  version         text NOT NULL DEFAULT '',
  revision        integer NOT NULL DEFAULT 0,
  task_queue      text NOT NULL DEFAULT '',
  keys            text NOT NULL DEFAULT '{}', -- key ids by field, the primary first
  clock_offset_ms bigint NOT NULL DEFAULT 0,
  spool_sets      integer NOT NULL DEFAULT 0,
  binding         text NOT NULL DEFAULT '',
  started_at      timestamptz NOT NULL,
  reported_at     timestamptz NOT NULL
);

INSERT INTO schema_programs (version, oldest_program) VALUES (13, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 13;
DROP TABLE processes;
DROP TABLE tombstones;
DROP TABLE verified_addresses;
DROP TABLE bindings;
DROP TABLE installation;
