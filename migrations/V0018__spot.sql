-- What of a cluster is spot capacity, with its notice and its prices (JSON); NULL: nothing.
ALTER TABLE clusters ADD COLUMN spot text;
-- What a run on spot capacity has agreed to, and whether it was told to leave (JSON); NULL: it is not on any.
ALTER TABLE runs ADD COLUMN spot text;
