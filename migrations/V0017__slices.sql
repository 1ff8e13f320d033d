-- How much of a run's time is held at once, and each time that it is renewed.
ALTER TABLE budgets ADD COLUMN slice_ms bigint NOT NULL DEFAULT 3600000;
-- Of a run's bound, what its reservation pays for, NULL in rows of earlier releases: all of it; and when the run may have begun to use
-- it, NULL before, and where the first slice is all.
ALTER TABLE reservations ADD COLUMN slice_ms bigint, ADD COLUMN since_ms bigint;
-- Whether the next run of a node holds its whole bound, because a slice of the last one could not be renewed.
ALTER TABLE nodes ADD COLUMN held_whole boolean NOT NULL DEFAULT false;
