-- Jobs with Slurm's numbers (ADR 32). They bypass the core: a job is a row that becomes a workflow when nothing keeps it waiting.
-- Numbers are given in blocks, one for each task of an array, and never again.
CREATE TABLE job_numbers (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  next bigint NOT NULL
);
INSERT INTO job_numbers (next) VALUES (1);
CREATE TABLE jobs (
  number bigint PRIMARY KEY CHECK (number BETWEEN 1 AND 2147483647),
  task_count bigint NOT NULL,
  project text NOT NULL,
  name text NOT NULL,
  submitted_by text NOT NULL,
  submitted_ms bigint NOT NULL,
  -- Of its workflow, fixed before there is one: who submits it again after a crash is answered with what is there.
  uid text NOT NULL UNIQUE,
  workflow text NOT NULL,
  -- Of the request that made it; NULL: it had no key.
  request_key text UNIQUE,
  request_hash text NOT NULL,
  -- The workflow, until it is submitted; then empty.
  document text NOT NULL,
  -- JSON: what is shown of it.
  details text NOT NULL,
  -- As --dependency has it; empty: none.
  dependency text NOT NULL,
  kills_on_invalid boolean NOT NULL,
  is_held boolean NOT NULL,
  begin_ms bigint,
  -- waiting, submitting, submitted, cancelled, refused
  state text NOT NULL,
  -- Why it waits, and what a refusal said.
  reason text NOT NULL,
  message text NOT NULL,
  ended_ms bigint
);
CREATE INDEX jobs_waiting ON jobs (number) WHERE state IN ('waiting', 'submitting');
CREATE INDEX jobs_of_project ON jobs (project, number);
CREATE INDEX jobs_by_name ON jobs (submitted_by, name, number);
