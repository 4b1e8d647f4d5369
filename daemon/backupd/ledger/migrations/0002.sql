-- When the whole proof of a file was last seen afresh; how the archive's name was taken; the places
-- that this ledger writes to; where a feed's directory really is.
ALTER TABLE files ADD COLUMN proven_at FLOAT;

ALTER TABLE receipts ADD COLUMN named_by TEXT NOT NULL DEFAULT '';

ALTER TABLE feed_mounts ADD COLUMN directory BLOB;

ALTER TABLE feed_mounts ADD COLUMN real_path BLOB;

CREATE TABLE places (
    name TEXT NOT NULL,
    mark TEXT NOT NULL,
    known_since FLOAT NOT NULL,
    PRIMARY KEY (name)
);
