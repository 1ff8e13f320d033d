-- Who may do what. What a role allows is in the code; rows say who has it. They bypass the core (ADR 7 and 17).
CREATE TABLE organisation_members (
  organisation text NOT NULL REFERENCES organisations (name),
  user_name text NOT NULL REFERENCES users (name),
  role text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  PRIMARY KEY (organisation, user_name, role)
);
CREATE INDEX organisation_members_user ON organisation_members (user_name);
CREATE TABLE members (
  project text NOT NULL REFERENCES projects (name),
  user_name text NOT NULL REFERENCES users (name),
  role text NOT NULL,
  created_ms bigint NOT NULL,
  created_by text NOT NULL,
  PRIMARY KEY (project, user_name, role)
);
CREATE INDEX members_user ON members (user_name);

-- The project of a service account: its tokens are bound to it. NULL: a person.
ALTER TABLE users ADD COLUMN service_project text REFERENCES projects (name);

-- What is shown of a token, and names it: half of the hash of 256 random bits tells nothing.
ALTER TABLE tokens
  ADD COLUMN id text GENERATED ALWAYS AS (encode(substring(hash FROM 1 FOR 8), 'hex')) STORED UNIQUE,
  ADD COLUMN scopes text NOT NULL DEFAULT 'all',
  ADD COLUMN created_by text NOT NULL DEFAULT '',
  ADD COLUMN used_ms bigint;
CREATE INDEX tokens_user ON tokens (user_name);

-- Administrators keep all that they may, and so do the tokens that are bound to a project.
INSERT INTO organisation_members (organisation, user_name, role, created_ms, created_by)
SELECT 'default', name, 'org-admin', created_ms, 'V0011' FROM users WHERE is_admin;
INSERT INTO members (project, user_name, role, created_ms, created_by)
SELECT DISTINCT tokens.project, user_name, 'project-admin', 0, 'V0011'
FROM tokens JOIN users ON users.name = user_name JOIN projects ON projects.name = tokens.project WHERE NOT is_admin;

-- What a project may use: JSON. Older releases know of no limits, and set none.
ALTER TABLE projects ADD COLUMN limits text NOT NULL DEFAULT '{}';

-- From where, and whether it was refused.
ALTER TABLE audit ADD COLUMN address text NOT NULL DEFAULT '', ADD COLUMN is_denied boolean NOT NULL DEFAULT false;
CREATE INDEX audit_at ON audit (at_ms);
