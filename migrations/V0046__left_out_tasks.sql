-- Tasks of an array that are not submitted with it (ADR 32): JSON, indices with why. Written while the job waits; '{}': none.
ALTER TABLE jobs ADD COLUMN left_out text NOT NULL DEFAULT '{}';
