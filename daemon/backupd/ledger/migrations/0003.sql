-- What each file of the embedded warehouse held when it was written. A feed's due files are found
-- without going through those of others. Where a file is now whose directory was renamed.
CREATE TABLE warehouse_files (
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE INDEX files_due_by_feed ON files (stage, feed, next_attempt_at) WHERE status = 'waiting';

CREATE INDEX files_identity ON files (identity) WHERE instr(relative_path, '/') > 0;
