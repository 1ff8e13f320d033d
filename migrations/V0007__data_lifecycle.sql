-- A pack whose object is being deleted: whoever wants it meanwhile waits for that. Null: it is not.
ALTER TABLE dataset_packs ADD COLUMN releasing_ms bigint;

-- A data set that was removed keeps the number of its last version for a while: no key names two contents. Null: it is there.
ALTER TABLE datasets ADD COLUMN removed_ms bigint;

-- When an output that is nowhere but in caches is to be copied. Null: when somebody needs it.
ALTER TABLE artifacts ADD COLUMN store_ms bigint;
UPDATE artifacts SET store_ms = created_ms + 300000 WHERE is_unstored;

-- Where a version's packs are that are not in the repository any more, and, of a version of an origin, the list of its files with the
-- packs that users fetch. Documents.
ALTER TABLE dataset_versions ADD COLUMN archive text;
ALTER TABLE dataset_versions ADD COLUMN stored text;
