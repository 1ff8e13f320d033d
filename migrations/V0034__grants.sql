-- What the budgets of an organisation's projects may have together; both or neither.
ALTER TABLE organisations ADD COLUMN grant_micros int8 CHECK (grant_micros > 0);
ALTER TABLE organisations ADD COLUMN grant_currency text CHECK ((grant_currency IS NULL) = (grant_micros IS NULL));
