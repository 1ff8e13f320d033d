-- When a workflow that is over is to be deleted (its document's ttlStrategy); NULL: when somebody deletes it.
ALTER TABLE workflows ADD COLUMN expires_ms bigint;
CREATE INDEX workflows_expires ON workflows (expires_ms) WHERE expires_ms IS NOT NULL;
