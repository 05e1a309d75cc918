-- +goose Up
-- The end of an outage: the connections that wait for their app, in the order of their
-- expiry, while their circuit releases them. No index of connections can have this
-- order, because a save changes the expiry.
CREATE TABLE waiting (
  connection_id text PRIMARY KEY,
  app           text NOT NULL,
  host          text NOT NULL,
  expires_at    datetime NOT NULL,
  turn_at       datetime -- null: not released yet
);
CREATE INDEX waiting_next ON waiting (app, host, expires_at, connection_id) WHERE turn_at IS NULL;
CREATE INDEX waiting_released ON waiting (app, host) WHERE turn_at IS NOT NULL;
ALTER TABLE circuits ADD COLUMN releasing_at datetime; -- of the last release
ALTER TABLE circuits ADD COLUMN progress text NOT NULL DEFAULT ''; -- of the release; JSON

INSERT INTO schema_programs (version, oldest_program) VALUES (12, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 12;
ALTER TABLE circuits DROP COLUMN progress;
ALTER TABLE circuits DROP COLUMN releasing_at;
DROP TABLE waiting;
