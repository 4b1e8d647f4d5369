"""The archive on another host, by SFTP."""
