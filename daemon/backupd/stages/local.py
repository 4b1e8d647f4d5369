"""The local file: opened so that nothing but the regular file we know is ever read."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.errors import DependencyDownError, LocalGoneError, TransientError
from backupd.core.names import escaped
from backupd.core.records import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupd.core.records import Feed, FileRecord

# No symbolic link is followed, no FIFO is waited for, no child process inherits it.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_A_FILE = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV}


@dataclass(frozen=True, slots=True)
class LocalFile:
    """An open regular file, and what it was when it was opened."""

    fd: int
    identity: Identity

    def identity_now(self) -> Identity:
        """Look again, through the same descriptor."""
        return Identity.of(os.fstat(self.fd))


class LocalFiles:
    """Opens local files. `why_away` tells why a feed's directory is not there, None when it is."""

    def __init__(self, why_away: Callable[[Feed], str | None]) -> None:
        self._why_away = why_away

    @contextmanager
    def open(self, file: FileRecord, feed: Feed) -> Iterator[LocalFile]:
        """Open the file for reading.

        Raises LocalGoneError when it is not there while its feed is, DependencyDownError when its
        feed is away, TransientError when it cannot be read just now.
        """
        fd = self._open(file, feed)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise LocalGoneError("another thing than a regular file stands in its place")
            yield LocalFile(fd, Identity.of(found))
        finally:
            os.close(fd)

    def exists(self, file: FileRecord, feed: Feed) -> bool:
        """Tell whether anything stands at the path. DependencyDownError when its feed is away."""
        if os.path.lexists(file.path):
            return True
        self._refuse_away(feed)
        return False

    def _open(self, file: FileRecord, feed: Feed) -> int:
        try:
            return os.open(file.path, _FLAGS)
        except FileNotFoundError:
            self._refuse_away(feed)
            raise LocalGoneError(
                "it vanished before it was shipped",
                hint="have it delivered again; it is then taken by itself",
            ) from None
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise LocalGoneError(
                    "another thing than a regular file stands in its place"
                ) from None
            self._refuse_away(feed)
            raise unreadable(file, error) from error

    def _refuse_away(self, feed: Feed) -> None:
        if reason := self._why_away(feed):
            raise DependencyDownError(f"feed:{feed.name}", reason)


def unreadable(file: FileRecord, error: OSError) -> TransientError:
    """Say what the operating system says."""
    hint = ""
    if error.errno in {errno.EACCES, errno.EPERM}:
        hint = f"give user {os.geteuid()} the right to read it, and its directories"
    return TransientError(
        f"cannot read {escaped(file.path)}: {os.strerror(error.errno or 0)}", hint=hint
    )
