-- What clusters charge for what they send for a run: JSON, a list of source, price of a GiB, bytes planned and bytes moved.
-- NULL where nothing is charged, and in rows of earlier releases.
ALTER TABLE runs ADD COLUMN egress text;
-- The class of a run, by which usage is grouped; NULL in rows of earlier releases.
ALTER TABLE runs ADD COLUMN priority_class text;

-- Of pinned data: minor units for a GiB and an hour; NULL: nothing.
ALTER TABLE price_sheets ADD COLUMN storage_gibibyte_hour float8;
-- Money held for data that a user has pinned, until until_ms: then it is charged, and held anew.
CREATE TABLE storage_holds (
  name text PRIMARY KEY,
  project text NOT NULL,
  member text NOT NULL,
  currency text NOT NULL,
  amount bigint NOT NULL CHECK (amount >= 0),
  from_ms bigint NOT NULL,
  until_ms bigint NOT NULL
);
-- What a movement of money was for, where that was no run.
ALTER TABLE ledger_entries ADD COLUMN subject text NOT NULL DEFAULT '';
