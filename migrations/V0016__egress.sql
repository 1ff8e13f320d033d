-- What clusters charge for what they send for a run: JSON, a list of source, price of a GiB, bytes planned and bytes moved.
-- NULL where nothing is charged, and in rows of earlier releases.
ALTER TABLE runs ADD COLUMN egress text;
-- The class of a run, by which usage is grouped; NULL in rows of earlier releases.
ALTER TABLE runs ADD COLUMN priority_class text;
