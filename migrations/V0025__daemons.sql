-- Of a node that others go on beside (JSON): where they reach it, and whether it has been ready.
ALTER TABLE nodes ADD COLUMN daemon text;
