-- Only the server that ran a statement can say whether it has ended. "": it is not known.
ALTER TABLE statements ADD COLUMN server TEXT NOT NULL DEFAULT '';

-- Which of several servers is in use, for people: by what they are, such as HiveServer2.
CREATE TABLE servers_in_use (
    kind TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL
);
