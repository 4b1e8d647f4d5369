-- The files that left for the history: by what each is recognised when it comes again (16 bytes of its
-- row's id), and on which day it was done (days since the epoch), where its story is. Below zero, ~days: never to
-- be forgotten, as nothing else would recognise the file.
CREATE TABLE remembered (
    row_id BLOB NOT NULL,
    done_day INTEGER NOT NULL,
    PRIMARY KEY (row_id)
) WITHOUT ROWID;
-- How many files of each feed left, and are not back; and when the last of all that left was done.
CREATE TABLE files_left (
    feed TEXT NOT NULL,
    files INTEGER NOT NULL,
    last_done_at FLOAT NOT NULL,
    PRIMARY KEY (feed)
) WITHOUT ROWID;
-- Stories on their way into the history: written down before they are written there.
CREATE TABLE history_batches (
    id TEXT NOT NULL,
    done_date TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE history_members (
    batch_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    PRIMARY KEY (batch_id, file_id)
) WITHOUT ROWID;
-- The host names under which this ledger's stories were written: a snapshot may go to another host.
CREATE TABLE history_hosts (
    host TEXT NOT NULL,
    PRIMARY KEY (host)
) WITHOUT ROWID;
-- Files of the ledger whose story is in the history already, and may not be written there again: with
-- the digest of that story, or none where it is another one by now.
CREATE TABLE in_history (
    file_id TEXT NOT NULL,
    digest BLOB,
    since FLOAT NOT NULL,
    PRIMARY KEY (file_id)
) WITHOUT ROWID;
-- When a snapshot was put in place: what was seen before may have left since it was taken.
CREATE TABLE restores (
    at FLOAT NOT NULL,
    PRIMARY KEY (at)
);
