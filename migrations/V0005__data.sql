-- Data sets, where their bytes are, and what moves. `spec`, `origin` and `manifest` are documents; nothing is searched in them.
CREATE TABLE datasets (
  project text NOT NULL,
  name text NOT NULL,
  spec text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  last_version int NOT NULL,
  PRIMARY KEY (project, name)
);
CREATE TABLE dataset_versions (
  -- DataKey: dataset:PROJECT/NAME@VERSION.
  key text PRIMARY KEY,
  project text NOT NULL,
  name text NOT NULL,
  version int NOT NULL,
  phase text NOT NULL,
  files bigint NOT NULL,
  bytes bigint NOT NULL,
  manifest text,
  origin text,
  indexed_via text,
  message text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  used_ms bigint,
  UNIQUE (project, name, version)
) WITH (fillfactor = 70);
CREATE TABLE replicas (
  key text NOT NULL,
  cache text NOT NULL,
  bytes bigint NOT NULL,
  ready_ms bigint NOT NULL,
  is_pinned boolean NOT NULL,
  PRIMARY KEY (key, cache)
);
CREATE INDEX replicas_cache ON replicas (cache);
CREATE TABLE transfers (
  id bigint PRIMARY KEY,
  key text NOT NULL,
  project text NOT NULL,
  cluster text NOT NULL,
  cause text NOT NULL,
  phase text NOT NULL,
  source text NOT NULL,
  bytes bigint NOT NULL,
  moved_bytes bigint NOT NULL,
  created_ms bigint NOT NULL,
  started_ms bigint,
  finished_ms bigint,
  message text NOT NULL
) WITH (fillfactor = 70);
-- Its rows are few: what is not over.
CREATE INDEX transfers_open ON transfers (id) WHERE finished_ms IS NULL;
CREATE INDEX transfers_project ON transfers (project, id);
-- The versions of the data sets that the document names without one, as of the submission.
ALTER TABLE workflows ADD COLUMN dataset_versions text;
-- Outputs that are nowhere but in caches.
ALTER TABLE artifacts ADD COLUMN is_unstored boolean NOT NULL DEFAULT false;
-- Outputs that took the place of lost ones.
ALTER TABLE artifacts ADD COLUMN is_remade boolean NOT NULL DEFAULT false;
CREATE INDEX artifacts_unstored ON artifacts (workflow_id) WHERE is_unstored;
-- The values are sealed with a key that is not in the database.
CREATE TABLE secrets (
  project text NOT NULL,
  name text NOT NULL,
  sealed bytea NOT NULL,
  -- Names of the values: what may be shown.
  fields text NOT NULL,
  changed_ms bigint NOT NULL,
  changed_by text NOT NULL,
  PRIMARY KEY (project, name)
);
