-- Moments are bigint milliseconds since 1970 (UTC). Names and phases are the words of the API.
-- Tables that change with every transition have a low fill factor and no index on what changes, so that their updates stay
-- on the page (HOT). They have no foreign keys either: the one writer keeps them whole, and a check for each row costs more
-- than the row.

CREATE TABLE leadership (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  term bigint NOT NULL DEFAULT 0,
  commit_seq bigint NOT NULL DEFAULT 0,
  holder text,
  address text,
  incarnation bigint NOT NULL DEFAULT 0,
  lease_expires_ms bigint NOT NULL DEFAULT 0,
  last_now_ms bigint NOT NULL DEFAULT 0,
  -- The greatest ever used: a number is never given again, even when its rows are gone.
  last_workflow_id bigint NOT NULL DEFAULT 0,
  last_explanation_id bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO leadership DEFAULT VALUES;

-- The fence of every unit. Locks the row until the unit ends; a unit whose predecessor failed, or whose leader was deposed,
-- ends here. An UPDATE that matches no row would stop nothing, so this raises.
CREATE FUNCTION fubini_fence(my_term bigint, previous bigint, following bigint, now_ms bigint, workflow_id bigint,
  explanation_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
BEGIN
  IF following <= previous THEN
    RAISE EXCEPTION 'commit sequence must grow' USING ERRCODE = 'FB002';
  END IF;
  UPDATE leadership SET commit_seq = following, last_now_ms = greatest(last_now_ms, now_ms),
    last_workflow_id = greatest(last_workflow_id, workflow_id),
    last_explanation_id = greatest(last_explanation_id, explanation_id)
    WHERE term = my_term AND commit_seq = previous;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another leader or a failed earlier unit' USING ERRCODE = 'FB001';
  END IF;
  RETURN following;
END $$;

CREATE TABLE organisations (
  name text PRIMARY KEY,
  created_ms bigint NOT NULL
);
CREATE TABLE projects (
  name text PRIMARY KEY,
  organisation text NOT NULL REFERENCES organisations (name),
  created_ms bigint NOT NULL
);
CREATE TABLE users (
  name text PRIMARY KEY,
  is_admin boolean NOT NULL DEFAULT false,
  created_ms bigint NOT NULL,
  disabled_ms bigint
);
CREATE TABLE tokens (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  user_name text NOT NULL REFERENCES users (name),
  project text,
  label text NOT NULL,
  created_ms bigint NOT NULL,
  expires_ms bigint,
  revoked_ms bigint
);

CREATE TABLE clusters (
  name text PRIMARY KEY,
  kind text NOT NULL,
  labels text NOT NULL,
  project text,
  created_ms bigint NOT NULL,
  cordon_reason text,
  is_draining boolean NOT NULL,
  revoked_ms bigint,
  journal text,
  acked_sequence bigint NOT NULL,
  is_adopting boolean NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE price_sheets (
  cluster text PRIMARY KEY,
  currency text NOT NULL,
  core_hour float8 NOT NULL,
  gibibyte_hour float8 NOT NULL,
  gpu_hour float8 NOT NULL,
  egress_gibibyte float8 NOT NULL
);
CREATE TABLE agents (
  cluster text PRIMARY KEY,
  version text NOT NULL,
  joined_ms bigint NOT NULL
);
CREATE TABLE certificates (
  serial text PRIMARY KEY,
  fingerprint text NOT NULL UNIQUE,
  cluster text NOT NULL,
  issued_ms bigint NOT NULL,
  not_after_ms bigint NOT NULL,
  revoked_ms bigint
);
CREATE INDEX certificates_cluster ON certificates (cluster);
CREATE TABLE join_tokens (
  hash bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  cluster text NOT NULL,
  created_ms bigint NOT NULL,
  expires_ms bigint NOT NULL,
  used_ms bigint,
  -- SHA-256 of the public key that used it.
  used_by bytea
);
CREATE TABLE inventory (
  cluster text PRIMARY KEY,
  document text NOT NULL,
  at_ms bigint NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE workflows (
  id bigint PRIMARY KEY,
  uid text NOT NULL UNIQUE,
  project text NOT NULL,
  name text NOT NULL,
  document text NOT NULL,
  labels jsonb NOT NULL,
  phase text NOT NULL,
  status text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  generation int NOT NULL,
  deletion_requested boolean NOT NULL,
  UNIQUE (project, name)
) WITH (fillfactor = 70);
-- Its rows are few: what is unfinished.
CREATE INDEX workflows_open ON workflows (id)
  WHERE phase IN ('Pending', 'Running') OR deletion_requested;

CREATE TABLE nodes (
  workflow_id bigint NOT NULL,
  ordinal int NOT NULL,
  name text NOT NULL,
  display_name text NOT NULL,
  type text NOT NULL,
  role int2 NOT NULL,
  phase text NOT NULL,
  has_begun boolean NOT NULL,
  is_superseded boolean NOT NULL,
  template_name text NOT NULL,
  message text NOT NULL,
  started_ms bigint,
  finished_ms bigint,
  parent int,
  boundary int,
  step int NOT NULL,
  item int NOT NULL,
  item_json text,
  upstream int[] NOT NULL,
  inputs text,
  outputs text,
  exit_code int,
  host_cluster text,
  runs_as text,
  cancel_reason text,
  wake_ms bigint,
  PRIMARY KEY (workflow_id, ordinal)
) WITH (fillfactor = 70);

CREATE TABLE runs (
  run_id bigint PRIMARY KEY,
  workflow_id bigint NOT NULL,
  ordinal int NOT NULL,
  epoch int NOT NULL,
  cluster text NOT NULL,
  phase int2 NOT NULL,
  bound_ms bigint NOT NULL,
  dispatched_ms bigint,
  started_ms bigint,
  finished_ms bigint,
  exit_code int,
  message text NOT NULL,
  cancel_reason text,
  is_unaccounted boolean NOT NULL,
  explanation bigint NOT NULL,
  quote text,
  cpu_millicores bigint NOT NULL,
  memory_bytes bigint NOT NULL,
  gpus bigint NOT NULL,
  gpu_type text,
  charge bigint,
  bytes_in bigint NOT NULL,
  bytes_out bigint NOT NULL,
  staging_ms bigint NOT NULL,
  wall_ms bigint NOT NULL,
  runs_as text NOT NULL,
  UNIQUE (workflow_id, ordinal, epoch)
) WITH (fillfactor = 70);

CREATE TABLE explanations (
  id bigint PRIMARY KEY,
  at_ms bigint NOT NULL,
  document text NOT NULL
);
CREATE TABLE events (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms bigint NOT NULL,
  workflow_id bigint,
  ordinal int,
  cluster text,
  reason text NOT NULL,
  message text NOT NULL
);
CREATE INDEX events_workflow ON events (workflow_id, seq) WHERE workflow_id IS NOT NULL;
CREATE TABLE idempotency (
  principal text NOT NULL,
  key text NOT NULL,
  request_hash text NOT NULL,
  reply text NOT NULL,
  at_ms bigint NOT NULL,
  PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_at ON idempotency (at_ms);

CREATE TABLE artifacts (
  key text PRIMARY KEY,
  workflow_uid text NOT NULL,
  size_bytes bigint NOT NULL,
  sha256 text NOT NULL,
  created_ms bigint NOT NULL
);
CREATE INDEX artifacts_workflow ON artifacts (workflow_uid);
CREATE TABLE logs (
  run_id bigint PRIMARY KEY,
  workflow_uid text NOT NULL,
  location text NOT NULL,
  size_bytes bigint NOT NULL,
  is_complete boolean NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX logs_workflow ON logs (workflow_uid);

CREATE TABLE audit (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at_ms bigint NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  object text NOT NULL,
  detail text NOT NULL
);
CREATE FUNCTION fubini_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append only', TG_TABLE_NAME USING ERRCODE = 'FB003';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION fubini_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION fubini_append_only();
