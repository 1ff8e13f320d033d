-- When an artifact goes from the repository, where its document says so (Argo's artifactGC): OnWorkflowCompletion, OnWorkflowDeletion or
-- Never. NULL: with its workflow, when its key was made for that.
ALTER TABLE artifacts ADD COLUMN collection text;
-- Logs whose workflow is gone: to be deleted where logs are kept.
CREATE TABLE log_garbage (
  run_id bigint PRIMARY KEY,
  since_ms bigint NOT NULL
);
CREATE INDEX log_garbage_since ON log_garbage (since_ms);
-- What a run's template runs, in a number: runtimes are learnt by template and program. 0: a run of an earlier release, which nobody learns from.
ALTER TABLE runs ADD COLUMN program bigint NOT NULL DEFAULT 0;
