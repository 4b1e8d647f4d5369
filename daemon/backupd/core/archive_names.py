"""What a file is called in the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.core.names import MAX_NAME_BYTES

if TYPE_CHECKING:
    from backupd.core.records import Feed


GZIP = ".gz"


def is_gzip_name(name: str) -> bool:
    """Tell whether a file is sent as it is because it is gzip already: `.gz`, `.GZ`, `.Gz`."""
    return name.lower().endswith(GZIP)


def archive_name(feed: Feed, relative_path: str, *, compress: bool) -> str:
    """Return `<archive_directory>/<relative path>[.gz]`, relative to the archive's root."""
    suffix = GZIP if compress and not is_gzip_name(relative_path) else ""
    directory = feed.archive_directory.strip("/")
    prefix = f"{directory}/" if directory not in {"", "."} else ""
    return f"{prefix}{relative_path}{suffix}"


def versioned(name: str, sha256: str) -> str:
    """Return the name for other content under a name that is taken.

    The first 8 hex digits of the content's SHA-256 go before `.gz`, at the end where there is none.
    """
    if is_gzip_name(name):
        return f"{name[: -len(GZIP)]}.{sha256[:8]}{name[-len(GZIP) :]}"
    return f"{name}.{sha256[:8]}"


def too_long(name: str) -> bool:
    """Tell whether no file system would take the last part of this archive name."""
    return len(name.rpartition("/")[2].encode()) > MAX_NAME_BYTES
