-- The new directories that take the place of partitions' old ones in Hive, and how far each has come.
-- One that is done is kept, so that its file is known as ours, until another takes its place.
CREATE TABLE replacements (
    id TEXT NOT NULL PRIMARY KEY,
    table_name TEXT NOT NULL,
    file_date TEXT NOT NULL,
    old TEXT NOT NULL,
    new TEXT NOT NULL,
    files TEXT NOT NULL,
    step TEXT NOT NULL,
    since FLOAT NOT NULL
);
