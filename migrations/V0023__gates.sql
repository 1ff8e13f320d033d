-- What a node had to pass before it began (JSON): the locks that it holds or waits for, and what it asked its cache for.
ALTER TABLE nodes ADD COLUMN gate text;

-- How many may hold a semaphore at once. Who holds and who waits follows from workflows and nodes.
CREATE TABLE semaphore_limits (
  project text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  key text NOT NULL,
  limit_count int NOT NULL CHECK (limit_count >= 0),
  PRIMARY KEY (project, kind, name, key)
);

-- Outputs of memoized templates, by the cache and the key that they were kept under.
CREATE TABLE memos (
  project text NOT NULL,
  cache text NOT NULL,
  key text NOT NULL,
  outputs text NOT NULL,
  node text NOT NULL,
  workflow text NOT NULL,
  created_ms bigint NOT NULL,
  hit_ms bigint NOT NULL,
  PRIMARY KEY (project, cache, key)
) WITH (fillfactor = 80);
