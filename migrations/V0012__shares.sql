-- Whose turn it is: a project's part of what is shared, compared with the other projects'. Older releases know of no weights, and set none.
ALTER TABLE projects ADD COLUMN weight float8 NOT NULL DEFAULT 1 CHECK (weight > 0 AND weight <= 1000000);

-- What each project's ended runs have used, as it counted at `at_ms`: it counts less with time. One row a project, written often.
CREATE TABLE project_usage (
  project text PRIMARY KEY,
  cpu_seconds float8 NOT NULL,
  gibibyte_seconds float8 NOT NULL,
  gpu_seconds float8 NOT NULL,
  at_ms bigint NOT NULL
) WITH (fillfactor = 50);
