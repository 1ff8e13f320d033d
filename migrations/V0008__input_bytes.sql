-- What a run read, as it was known at its placement: runtimes are learnt by template and size. Unknown of earlier releases' runs.
ALTER TABLE runs ADD COLUMN input_bytes bigint;
