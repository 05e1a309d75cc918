-- +goose Up
-- A key of every tenant names its tenant in each request. Its tenant_id is '*', and says
-- nothing. A key that has one of these columns has its hash in digest and none in
-- secret_hash: a program that does not know them would take it for another key than it is,
-- and so finds none that matches.
ALTER TABLE api_keys ADD COLUMN every_tenant boolean NOT NULL DEFAULT false;
ALTER TABLE api_keys ADD COLUMN apps text NOT NULL DEFAULT ''; -- JSON; empty: every app
ALTER TABLE api_keys ADD COLUMN expires_at datetime;
ALTER TABLE api_keys ADD COLUMN digest blob; -- SHA-256 of 256 random bits

-- Migration 20 used to record this version.
INSERT INTO schema_programs (version, oldest_program) VALUES (21, 1) ON CONFLICT DO NOTHING;

-- +goose Down
DELETE FROM schema_programs WHERE version = 21;
DELETE FROM api_keys WHERE digest IS NOT NULL;
ALTER TABLE api_keys DROP COLUMN every_tenant;
ALTER TABLE api_keys DROP COLUMN apps;
ALTER TABLE api_keys DROP COLUMN expires_at;
ALTER TABLE api_keys DROP COLUMN digest;
