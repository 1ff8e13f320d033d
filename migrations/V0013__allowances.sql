-- What each member of a project has used of its budget in the current period, and may at most.
CREATE TABLE allowances (
  project text NOT NULL,
  member text NOT NULL,
  -- NULL: the budget alone bounds the member.
  limit_micros bigint,
  reserved bigint NOT NULL CHECK (reserved >= 0),
  spent bigint NOT NULL CHECK (spent >= 0),
  PRIMARY KEY (project, member),
  CONSTRAINT allowances_hold CHECK (limit_micros IS NULL OR reserved + spent <= limit_micros)
) WITH (fillfactor = 50);

-- Whose run it is for which money is held.
ALTER TABLE reservations ADD COLUMN member text NOT NULL DEFAULT '';
UPDATE reservations v SET member = w.created_by FROM runs r JOIN workflows w ON w.id = r.workflow_id
WHERE r.run_id = v.run_id;
INSERT INTO allowances (project, member, reserved, spent)
SELECT project, member, sum(amount), 0 FROM reservations WHERE member <> '' GROUP BY project, member;

-- Whom a project's alerts are told, besides its events. The key that they are signed with is one of the project's secrets.
CREATE TABLE alert_hooks (
  project text PRIMARY KEY,
  url text NOT NULL,
  secret text NOT NULL,
  changed_ms bigint NOT NULL,
  changed_by text NOT NULL
);

-- What is to be told: written in the unit in which spending reached the alert.
CREATE TABLE alert_deliveries (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project text NOT NULL,
  body text NOT NULL,
  created_ms bigint NOT NULL,
  attempts int NOT NULL DEFAULT 0,
  -- When it is tried next; NULL: it is over.
  next_ms bigint,
  -- When it was taken; NULL: it was not.
  delivered_ms bigint,
  -- Why it was not taken the last time.
  failure text NOT NULL DEFAULT ''
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (next_ms) WHERE next_ms IS NOT NULL;
CREATE INDEX alert_deliveries_project ON alert_deliveries (project, id);
