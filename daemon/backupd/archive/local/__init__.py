"""The archive as a directory of this host."""
