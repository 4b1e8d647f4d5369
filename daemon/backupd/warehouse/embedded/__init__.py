"""The production table as Parquet files on this host."""
