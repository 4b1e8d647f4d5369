-- Each claim of a file or batch counts, whether it counts as an attempt or not.
ALTER TABLE files RENAME COLUMN tries TO claims;

ALTER TABLE batches RENAME COLUMN tries TO claims;
