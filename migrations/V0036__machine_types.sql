-- What the machine types of job files stand for, beside names like c2_m4_cpu, which say it themselves.
CREATE TABLE machine_types (
  name text PRIMARY KEY,
  cpus bigint NOT NULL CHECK (cpus > 0),
  memory_mib bigint NOT NULL CHECK (memory_mib > 0),
  gpus bigint NOT NULL CHECK (gpus >= 0),
  gpu_type text,
  -- A cluster, or a partition as sbatch has them; NULL: any cluster.
  partition text,
  changed_ms bigint NOT NULL,
  changed_by text NOT NULL
);
-- The key of its archive in the project's repository, which goes with the row; empty: nobody noted it.
ALTER TABLE jobs ADD COLUMN submission text NOT NULL DEFAULT '';
CREATE INDEX jobs_by_age ON jobs (submitted_ms);
