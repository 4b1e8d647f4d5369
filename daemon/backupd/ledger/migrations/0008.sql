-- What happened to a file that is done for a while, and its receipt, in one compressed row, in place
-- of a dozen in `events` and `receipts`: see `ledger/folding.py`.
CREATE TABLE stories (
    file_id TEXT NOT NULL,
    has_receipt BOOLEAN NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (file_id)
) WITHOUT ROWID;
CREATE INDEX events_done ON events (at) WHERE status = 'done';
-- A name that is the relative path too is not written twice any more.
DROP INDEX files_file_name;
CREATE INDEX files_file_name ON files (file_name) WHERE file_name != X'';
DROP INDEX files_twins;
CREATE INDEX files_twins ON files (relative_path);
