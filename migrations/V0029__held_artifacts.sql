-- A memoized template's artifacts are kept in the repository as long as the entry that names them.
CREATE INDEX memos_artifacts ON memos USING gin (jsonb_path_query_array(outputs::jsonb, '$.artifacts.*.key'));
-- Until now they went with the workflow that had made them: what names artifacts that are gone is forgotten.
DELETE FROM memos m WHERE EXISTS (
  SELECT 1 FROM jsonb_array_elements_text(jsonb_path_query_array(m.outputs::jsonb, '$.artifacts.*.key')) AS named (key)
  WHERE NOT EXISTS (
    SELECT 1 FROM artifacts a WHERE a.project = m.project AND a.key = named.key AND a.deleted_ms IS NULL));
