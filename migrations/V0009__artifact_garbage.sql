-- Objects of the repository whose owner, a workflow, is gone, or that are older than they are to be kept: to be deleted there.
CREATE TABLE artifact_garbage (
  project text NOT NULL,
  key text NOT NULL,
  since_ms bigint NOT NULL,
  PRIMARY KEY (project, key)
);
CREATE INDEX artifact_garbage_since ON artifact_garbage (since_ms);
-- When an artifact's object was given up because of its age.
ALTER TABLE artifacts ADD COLUMN deleted_ms bigint;
CREATE INDEX artifacts_age ON artifacts (created_ms) WHERE deleted_ms IS NULL;
