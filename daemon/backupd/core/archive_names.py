"""What a file is called in the archive."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from backupd.core.names import MAX_NAME_BYTES

if TYPE_CHECKING:
    from backupd.core.records import Feed, FileRecord


GZIP = ".gz"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 31  # window bits that ask zlib for a gzip header, whose sums it checks at the end


def is_gzip_name(name: str) -> bool:
    """Return whether a file is sent as it is because it is gzip already: `.gz`, `.GZ`, `.Gz`."""
    return name.lower().endswith(GZIP)


def archive_name(feed: Feed, relative_path: str, *, compress: bool) -> str:
    """Return `<archive_directory>/<relative path>[.gz]`, relative to the archive's root."""
    suffix = GZIP if compress and not is_gzip_name(relative_path) else ""
    return posixpath.join(home_of(feed), f"{relative_path}{suffix}")


def home_of(feed: Feed) -> str:
    """Return the feed's archive directory, relative to the archive's root, which is ""."""
    directory = feed.archive_directory.strip("/")
    return "" if directory == "." else directory


def directory_of(file: FileRecord, feed: Feed) -> str:
    """Return the directory of the archive that the file is in, or goes to."""
    name = file.archive_name or archive_name(feed, file.relative_path, compress=False)
    return posixpath.dirname(name)


def is_below(directory: str, above: str) -> bool:
    """Return whether a directory of the archive is this one, or below it."""
    return not above or directory == above or directory.startswith(f"{above}/")


def versioned(name: str, sha256: str) -> str:
    """Return the name for other content under a name that is taken.

    The first 8 hex digits of the content's SHA-256 go before `.gz`, at the end where there is none.
    """
    if is_gzip_name(name):
        return f"{name[: -len(GZIP)]}.{sha256[:8]}{name[-len(GZIP) :]}"
    return f"{name}.{sha256[:8]}"


def too_long(name: str) -> bool:
    """Return whether no file system would take the last part of this archive name."""
    return len(name.rpartition("/")[2].encode()) > MAX_NAME_BYTES
