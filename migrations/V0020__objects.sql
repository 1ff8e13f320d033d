-- What is kept for workflows in Argo's words: templates, cron workflows and config maps. They bypass the core (ADR 7 and 25): a
-- submission takes from them what it needs, and nothing that runs reads them.
CREATE SEQUENCE object_revisions;
CREATE TABLE objects (
  kind text NOT NULL,
  -- Empty for what belongs to the federation.
  project text NOT NULL,
  name text NOT NULL,
  uid text NOT NULL UNIQUE,
  -- Of the last change; among all objects no two are the same.
  revision bigint NOT NULL,
  -- Grows where the document changes.
  generation bigint NOT NULL,
  labels jsonb NOT NULL,
  -- JSON, as its author wrote it, with sorted keys.
  document text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  changed_ms bigint NOT NULL,
  changed_by text NOT NULL,
  PRIMARY KEY (kind, project, name)
);
