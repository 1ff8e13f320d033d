-- The commit that made a row, and the one that last changed it: so a watcher of a large workflow reads what is new to it, and
-- goes on from any replica. Not indexed: an index on what changes with every transition would end updates on the page (HOT).
-- Rows of earlier releases count as made before every watcher came.
ALTER TABLE nodes ADD COLUMN created_seq bigint NOT NULL DEFAULT 0, ADD COLUMN changed_seq bigint NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN changed_seq bigint NOT NULL DEFAULT 0;
