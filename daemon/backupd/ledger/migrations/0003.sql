-- What each file of the embedded warehouse held when it was written.
CREATE TABLE warehouse_files (
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (name)
);
