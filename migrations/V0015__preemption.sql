-- How often a task had to leave its cluster to one of a higher class, and what it had reached then (JSON: stored artifacts by name).
ALTER TABLE nodes ADD COLUMN restarts int NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN checkpoints text;
-- The task that a run makes room for; NULL: none. The run ends preempted, and its task waits again.
ALTER TABLE runs ADD COLUMN preempted_for_workflow bigint;
ALTER TABLE runs ADD COLUMN preempted_for_ordinal int;
