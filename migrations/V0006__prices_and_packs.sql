-- Prices that depend on class and time: documents, because nothing is searched in them.
ALTER TABLE price_sheets ADD COLUMN class_factors text;
ALTER TABLE clusters ADD COLUMN price_periods text;

-- Objects of the repository that data sets are made of, so that what no version uses any more can be found and deleted.
-- Manifests that a version has named, or is about to name.
CREATE TABLE dataset_manifests (
  project text NOT NULL,
  key text NOT NULL,
  seen_ms bigint NOT NULL,
  PRIMARY KEY (project, key)
);
-- Packs that were uploaded or asked for, by their content.
CREATE TABLE dataset_packs (
  project text NOT NULL,
  sha256 text NOT NULL,
  bytes bigint NOT NULL,
  seen_ms bigint NOT NULL,
  PRIMARY KEY (project, sha256)
);
-- A pack cannot go while a manifest needs it.
CREATE TABLE manifest_packs (
  project text NOT NULL,
  manifest text NOT NULL,
  sha256 text NOT NULL,
  PRIMARY KEY (project, manifest, sha256),
  FOREIGN KEY (project, manifest) REFERENCES dataset_manifests (project, key) ON DELETE CASCADE,
  FOREIGN KEY (project, sha256) REFERENCES dataset_packs (project, sha256)
);
CREATE INDEX manifest_packs_pack ON manifest_packs (project, sha256);

-- Lists of transfers, newest first.
CREATE INDEX transfers_recent ON transfers (project, created_ms, id);
