-- The id of a file's row in production. Until now it was the file's own id, or that of the file that
-- it is a duplicate of. What was read by then keeps it.
ALTER TABLE files ADD COLUMN row_id TEXT;
UPDATE files SET row_id = COALESCE(duplicate_of, id) WHERE sha256 IS NOT NULL;
CREATE INDEX files_row_id ON files (row_id) WHERE row_id IS NOT NULL;
