-- Between two slices of a workflow's work: what has ended and was not yet taken note of, and how far a loop is expanded.
ALTER TABLE nodes ADD COLUMN end_pending boolean NOT NULL DEFAULT false, ADD COLUMN expansion text;

-- An explanation belongs to one workflow and goes with it. Rows of the first release do not say whose they are, and go by age.
ALTER TABLE explanations ADD COLUMN workflow_id bigint;
CREATE INDEX explanations_workflow ON explanations (workflow_id, id);

-- What nodes put into the artifact repository. The first release had this table, keyed by the repository's key alone, and
-- never wrote it; its columns stay, so that a leader of that release can still delete a workflow while this one is rolled out.
ALTER TABLE artifacts DROP CONSTRAINT artifacts_pkey;
ALTER TABLE artifacts ADD COLUMN workflow_id bigint NOT NULL, ADD COLUMN ordinal int NOT NULL, ADD COLUMN name text NOT NULL,
  ADD COLUMN project text NOT NULL, ADD COLUMN cluster text, ADD COLUMN archive text NOT NULL,
  ADD PRIMARY KEY (workflow_id, ordinal, name);
CREATE INDEX artifacts_key ON artifacts (project, key);

-- The installation that speaks for a cluster: `joined_ms` is when its journal was first heard of.
ALTER TABLE agents ADD COLUMN journal text NOT NULL DEFAULT '', ADD COLUMN seen_ms bigint NOT NULL DEFAULT 0;
