"""backupd: registers, ships and only then removes every backup file."""
