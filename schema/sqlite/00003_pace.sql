-- +goose Up
-- Pace and cadence: pacers that refresh an app's healthy connections in bulk, and
-- connections that are refreshed as they are used.
CREATE TABLE pacers (
  app        text NOT NULL,
  shard      integer NOT NULL,
  shards     integer NOT NULL,
  beat       bigint NOT NULL DEFAULT 0,
  updated_at datetime NOT NULL,
  PRIMARY KEY (app, shard, shards)
);
ALTER TABLE connections ADD COLUMN cadence text NOT NULL DEFAULT 'always';
-- The retention finds its lines by their age.
CREATE INDEX attempts_started ON attempts (started_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (3, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 3;
DROP INDEX attempts_started;
ALTER TABLE connections DROP COLUMN cadence;
DROP TABLE pacers;
