-- +goose Up
-- Replies of token endpoints that could not be read and may have tokens: of each
-- connection the first of its generation. A reply is useless once the generation rises.
CREATE TABLE kept_replies (
  connection_id text PRIMARY KEY,
  app           text NOT NULL,
  generation    integer NOT NULL,  -- of the connection when the reply came
  digest        text NOT NULL,    -- of the refresh token that was presented
  attempt_id    text NOT NULL,
  reply_sealed  blob NOT NULL,   -- with the refresh tokens' keys
  whole         boolean NOT NULL, -- the reply is all there
  sent_at       datetime NOT NULL,
  kept_at       datetime NOT NULL,
  given_up      boolean NOT NULL DEFAULT false -- an operator goes on without it
);
CREATE INDEX kept_replies_app ON kept_replies (app);

INSERT INTO schema_programs (version, oldest_program) VALUES (17, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 17;
DROP TABLE kept_replies;
