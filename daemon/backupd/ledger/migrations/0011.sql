-- The feeds of which something is expected: since when, by which pattern their numbers are read, a digest of all
-- that is expected and since when that holds, and whether the files that were there are counted.
CREATE TABLE watched_feeds (
    feed TEXT NOT NULL,
    rule TEXT NOT NULL,
    since FLOAT NOT NULL,
    terms TEXT NOT NULL,
    terms_since FLOAT NOT NULL,
    is_counted BOOLEAN NOT NULL,
    PRIMARY KEY (feed)
);
-- What came of each date of theirs (days since 1970-01-01), whether it is still in `files` or not. Filled by
-- the daemon, which knows the patterns, from the files that are there when a feed is first watched.
CREATE TABLE arrivals (
    feed TEXT NOT NULL,
    day INTEGER NOT NULL,
    files INTEGER NOT NULL,
    records INTEGER NOT NULL,
    size INTEGER NOT NULL,
    first_at FLOAT NOT NULL,
    last_at FLOAT NOT NULL,
    quiet FLOAT NOT NULL,
    least_records INTEGER NOT NULL,
    most_records INTEGER NOT NULL,
    least_size INTEGER NOT NULL,
    most_size INTEGER NOT NULL,
    minutes BLOB NOT NULL,
    PRIMARY KEY (feed, day)
) WITHOUT ROWID;
-- The numbers of their names, as ranges.
CREATE TABLE arrived_numbers (
    feed TEXT NOT NULL,
    day INTEGER NOT NULL,
    source TEXT NOT NULL,
    spans TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    width INTEGER NOT NULL,
    PRIMARY KEY (feed, day, source)
) WITHOUT ROWID;
-- What will never come, as a person said: for ever.
CREATE TABLE excuses (
    id INTEGER NOT NULL,
    feed TEXT NOT NULL,
    day INTEGER NOT NULL,
    low INTEGER,
    high INTEGER,
    why TEXT NOT NULL,
    at FLOAT NOT NULL,
    PRIMARY KEY (id)
);
