-- Several organisations. The one called default is the federation's own: its roles hold in all of them, as they did.
ALTER TABLE organisations ADD COLUMN description text NOT NULL DEFAULT '';
-- Its part of what is shared, compared with the other organisations'.
ALTER TABLE organisations ADD COLUMN weight float8 NOT NULL DEFAULT 1 CHECK (weight > 0);
CREATE INDEX projects_organisation ON projects (organisation);
