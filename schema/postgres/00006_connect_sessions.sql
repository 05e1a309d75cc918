-- +goose Up
-- Connect sessions: one link, one browser, one consent. No link, state, browser
-- secret or code stands here, only digests; the verifier and the reply are sealed.
CREATE TABLE connect_sessions (
  id              text PRIMARY KEY,
  tenant_id       text NOT NULL,
  tenant_title    text NOT NULL DEFAULT '',
  app             text NOT NULL,
  connection_id   text NOT NULL DEFAULT '', -- that is to be reconnected; empty: a connect
  host            text NOT NULL DEFAULT '',
  return_url      text NOT NULL DEFAULT '',
  mode            text NOT NULL CHECK (mode IN ('page', 'popup')),
  scopes          text NOT NULL DEFAULT '', -- required; separated by spaces
  link_digest     text NOT NULL UNIQUE,
  starts          bigint NOT NULL DEFAULT 0, -- authorization requests so far; each has its own state and verifier
  state_digest    text UNIQUE, -- of the newest; null: none yet
  browser_digest  text NOT NULL DEFAULT '', -- that sent it
  verifier_sealed bytea,
  answered_at     timestamptz, -- its state was used
  reply_sealed    bytea, -- the token reply, while it is being stored
  reply_at        timestamptz, -- when it was asked for
  tries           integer NOT NULL DEFAULT 0, -- to store it
  lease_until     timestamptz, -- somebody is at it
  outcome         text NOT NULL DEFAULT '',
  missing_scopes  text NOT NULL DEFAULT '',
  result_id       text NOT NULL DEFAULT '', -- the connection that was stored
  created_at      timestamptz NOT NULL,
  expires_at      timestamptz NOT NULL
);
CREATE INDEX connect_sessions_unfinished ON connect_sessions (lease_until) WHERE reply_sealed IS NOT NULL;
CREATE INDEX connect_sessions_expires ON connect_sessions (expires_at);

INSERT INTO schema_programs (version, oldest_program) VALUES (6, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 6;
DROP TABLE connect_sessions;
