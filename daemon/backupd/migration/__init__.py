"""Makes a config out of the properties of the bash job that backupd replaces."""
