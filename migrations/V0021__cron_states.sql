-- What the leader notes of each cron workflow. Only the leader writes it, each time in the place of the revision that it read: one that
-- does not lead any more loses.
CREATE TABLE cron_states (
  uid text PRIMARY KEY REFERENCES objects (uid) ON DELETE CASCADE,
  revision bigint NOT NULL,
  -- The schedules and the time zone that it goes by, and since when; after a change, earlier times count for nothing.
  schedule text NOT NULL,
  scheduled_since_ms bigint NOT NULL,
  has_new_schedule boolean NOT NULL,
  last_scheduled_ms bigint,
  -- Workflows of it with greater ids have not been seen yet.
  seen_workflow bigint NOT NULL,
  -- JSON: [{name, uid}] of its workflows that are not over.
  active text NOT NULL,
  succeeded bigint NOT NULL,
  failed bigint NOT NULL,
  is_stopped boolean NOT NULL,
  -- JSON: {type, message}; NULL: nothing is wrong.
  condition text
);
