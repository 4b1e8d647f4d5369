-- The newest snapshot of the ledger by where snapshots go in the archive; with no name, since when
-- there has been none. It is written once the snapshot is there, so none knows of itself.
CREATE TABLE snapshots (
    directory TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    taken_at FLOAT NOT NULL
);
