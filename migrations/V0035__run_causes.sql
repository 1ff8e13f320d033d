-- Why a run did not end by itself, as a code; NULL: it did, or nobody told.
ALTER TABLE runs ADD COLUMN cause text;
