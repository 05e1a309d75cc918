-- +goose Up
-- Indexes for what lists and connects look for.
CREATE INDEX connections_of_tenant ON connections (tenant_id, id);
CREATE INDEX connections_disconnected_account ON connections (tenant_id, app, account_id) WHERE status = 'disconnected';
CREATE INDEX connections_not_active ON connections (status, tenant_id, id) WHERE status <> 'active';
CREATE INDEX connections_failing ON connections (tenant_id, id) WHERE health = 'failing';
CREATE INDEX outbox_created ON outbox (created_at, id);

INSERT INTO schema_programs (version, oldest_program) VALUES (9, 1);

-- +goose Down
DELETE FROM schema_programs WHERE version = 9;
DROP INDEX outbox_created;
DROP INDEX connections_failing;
DROP INDEX connections_not_active;
DROP INDEX connections_disconnected_account;
DROP INDEX connections_of_tenant;
