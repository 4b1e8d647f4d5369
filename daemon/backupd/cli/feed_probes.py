"""What `check --probe` tries in a feed's directory."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from backupd.core.names import escaped
from backupd.core.ports import Probe
from backupd.localfs.capabilities import Capability, has
from backupd.localfs.directory import CREATE, Directory

if TYPE_CHECKING:
    from backupd.core.records import Feed

_CONTENT = b"backupd was here\n"


def probe_feed(feed: Feed, *, deletes: bool) -> Probe:
    """List the directory; write and remove a file there if the feed's files are to be deleted."""
    subject, done = f"feed {feed.name}", f"{feed.directory}: listed"
    try:
        with Directory.at(os.path.realpath(feed.directory)) as directory:
            next(directory.names(), None)
            if deletes:
                _write_and_remove(directory)
                done += ", written, removed"
                if found := _not_removable(directory):
                    return _sticky(subject, feed.directory, found)
    except OSError as error:
        return Probe(
            subject,
            ok=False,
            detail=f"{feed.directory}: {error.strerror}",
            hint=f"let user {os.geteuid()} read and write it",
        )
    return Probe(subject, ok=True, detail=done)


def _write_and_remove(directory: Directory) -> None:
    name = f".backupd-probe-{secrets.token_hex(4)}.tmp"
    descriptor = directory.open(name, CREATE)
    try:
        os.write(descriptor, _CONTENT)
    finally:
        os.close(descriptor)
        directory.unlink(name)


def _not_removable(directory: Directory) -> str | None:
    """Return a file that the sticky bit keeps us from removing: somebody else's. None: none."""
    place, user = directory.stat(), os.geteuid()
    if not place.st_mode & stat.S_ISVTX or place.st_uid == user or has(Capability.FOWNER):
        return None
    for entry in directory.names():
        with suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_uid != user:
                return entry.name
    return None


def _sticky(subject: str, directory: str, name: str) -> Probe:
    return Probe(
        subject,
        ok=False,
        detail=f"{directory} has the sticky bit: {escaped(name)} can only be removed by its owner",
        hint=f"chmod -t {directory}, or have its files belong to user {os.geteuid()}",
    )
