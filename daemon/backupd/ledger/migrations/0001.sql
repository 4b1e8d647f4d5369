-- Version 1: the first.

CREATE TABLE batch_members (
    batch_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    file_id TEXT NOT NULL,
    PRIMARY KEY (batch_id, position)
);

CREATE INDEX batch_members_file ON batch_members (file_id);

CREATE TABLE batches (
    id TEXT NOT NULL,
    stage TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    next_attempt_at FLOAT NOT NULL,
    created_at FLOAT NOT NULL,
    done_at FLOAT,
    staged_at TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX batches_open ON batches (stage, next_attempt_at) WHERE done_at IS NULL;

CREATE TABLE events (
    seq INTEGER NOT NULL,
    file_id TEXT NOT NULL,
    at FLOAT NOT NULL,
    stage TEXT NOT NULL,
    status TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (seq)
);

CREATE INDEX events_file ON events (file_id);

CREATE TABLE feed_mounts (
    feed TEXT NOT NULL,
    mount BLOB NOT NULL,
    PRIMARY KEY (feed)
);

CREATE TABLE files (
    id TEXT NOT NULL,
    feed TEXT NOT NULL,
    file_type TEXT NOT NULL,
    customer TEXT NOT NULL,
    path BLOB NOT NULL,
    relative_path BLOB NOT NULL,
    file_name BLOB NOT NULL,
    stage TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    interruptions INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    awaits TEXT NOT NULL,
    next_attempt_at FLOAT NOT NULL,
    stage_since FLOAT NOT NULL,
    first_seen_at FLOAT NOT NULL,
    done_at FLOAT,
    identity TEXT NOT NULL,
    unchanged_since FLOAT NOT NULL,
    local BOOLEAN NOT NULL,
    companion_path BLOB,
    companion_text TEXT,
    disagreement TEXT,
    size_bytes INTEGER,
    record_count INTEGER,
    sha256 TEXT,
    file_timestamp FLOAT,
    batch_id TEXT,
    row_seen_at FLOAT,
    duplicate_of TEXT,
    archive_name TEXT,
    trouble TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX files_companion ON files (stage, companion_path) WHERE stage = 'settle' AND companion_path IS NOT NULL;

CREATE INDEX files_done ON files (feed, done_at) WHERE done_at IS NOT NULL;

CREATE INDEX files_done_at ON files (done_at) WHERE done_at IS NOT NULL;

CREATE INDEX files_due ON files (stage, next_attempt_at) WHERE status = 'waiting';

CREATE INDEX files_duplicate_of ON files (duplicate_of) WHERE duplicate_of IS NOT NULL;

CREATE INDEX files_file_name ON files (file_name);

CREATE UNIQUE INDEX files_local ON files (path) WHERE local;

CREATE INDEX files_open ON files (status, feed, first_seen_at, stage) WHERE status != 'done';

CREATE INDEX files_path ON files (path);

CREATE INDEX files_trouble ON files (feed, trouble) WHERE trouble != '';

CREATE INDEX files_twins ON files (feed, relative_path);

CREATE INDEX files_unbatched ON files (stage, batch_id, stage_since) WHERE stage = 'load' AND status = 'waiting' AND batch_id IS NULL;

CREATE TABLE incidents (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    cause TEXT NOT NULL,
    feed TEXT NOT NULL,
    trouble TEXT NOT NULL,
    reason TEXT NOT NULL,
    opened_at FLOAT NOT NULL,
    closed_at FLOAT,
    trials INTEGER NOT NULL,
    next_try_at FLOAT,
    PRIMARY KEY (id)
);

CREATE UNIQUE INDEX incidents_open ON incidents (cause) WHERE closed_at IS NULL;

CREATE TABLE notices (
    incident_id TEXT NOT NULL,
    way TEXT NOT NULL,
    occasion TEXT NOT NULL,
    number INTEGER NOT NULL,
    at FLOAT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (incident_id, way, occasion, number)
);

CREATE INDEX notices_at ON notices (at);

CREATE TABLE receipts (
    file_id TEXT NOT NULL,
    archive_name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    sent_sha256 TEXT NOT NULL,
    remote_sha256 TEXT NOT NULL,
    sent_bytes INTEGER NOT NULL,
    verified_by TEXT NOT NULL,
    flushed BOOLEAN NOT NULL,
    shipped_at FLOAT NOT NULL,
    verified_at FLOAT NOT NULL,
    PRIMARY KEY (file_id)
);

CREATE TABLE refreshes_owed (
    name TEXT NOT NULL,
    since FLOAT NOT NULL,
    merges INTEGER NOT NULL,
    dates TEXT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE row_counts_due (
    file_id TEXT NOT NULL,
    file_date TEXT NOT NULL,
    doubled BOOLEAN NOT NULL,
    due_at FLOAT NOT NULL,
    PRIMARY KEY (file_id)
);

CREATE TABLE statements (
    batch_id TEXT NOT NULL,
    text TEXT NOT NULL,
    began_at FLOAT NOT NULL,
    session TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (batch_id)
);
