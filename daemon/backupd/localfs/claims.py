"""Claims: which process of this host works on a directory.

A claim is a socket bound to a name in the abstract namespace of unix(7), made of the directory's
device and inode, so that links, bind mounts and renamed directories do not hide that it is the same
one. The kernel gives the name back when the process ends, however it ends. Nothing is written
anywhere, no directory is held open, and no child process keeps it. Processes in another network
namespace have names of their own: they are not seen.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from collections.abc import Callable

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid: socket(7), SO_PEERCRED
_TRIES = 10
_PAUSE = 0.02  # seconds: the owner may be about to listen, or its last child about to end
_SOCKETS = Path("/proc/self/net/unix")  # all of this network namespace
_BACKLOG = 4096  # askers, who only want to know whom they reached


class ClaimedError(BackupdError):
    """Another claim on the same directory stands. `pid` is its process, "unknown" or not."""

    def __init__(self, what: str, pid: str) -> None:
        """`what` is claimed: "feed", "archive" or "warehouse"."""
        super().__init__(
            f"this {what} is in use by process {pid}",
            hint=f"only one backupd may work on a {what}: stop the other one, or give each its own",
        )
        self.what = what
        self.pid = pid


class Claim:
    """A claim that stands until it is released, or the process ends."""

    def __init__(self, bound: socket.socket) -> None:
        """Own this socket."""
        self._socket = bound

    def answer(self) -> None:
        """Let go of those who asked whose it is: else they would fill the queue in time."""
        with suppress(OSError):  # nobody is left, or no descriptor: they wait
            while True:
                self._socket.accept()[0].close()

    def release(self) -> None:
        """Let others claim it."""
        self._socket.close()


class Claims:
    """The claims of one owner, who may ask for the same one again. Use as a context manager."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, int], Claim] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release all of them."""
        self.close()

    def close(self) -> None:
        """Release all of them."""
        while self._held:
            self._held.popitem()[1].release()

    def add(self, directory_dev: int, directory_ino: int, what: str) -> None:
        """Claim a directory, unless this owner has it already. Raises ClaimedError, OSError."""
        key = (what, directory_dev, directory_ino)
        if key not in self._held:
            self._held[key] = claim(directory_dev, directory_ino, what)

    def elsewhere(self, what: str) -> frozenset[tuple[int, int]]:
        """Return device and inode of the directories that others have claimed as `what`.

        None where the kernel does not show its sockets.
        """
        ours = {(dev, ino) for held, dev, ino in self._held if held == what}
        return frozenset(_claimed(what) - ours)

    def answer(self) -> None:
        """See `Claim.answer`: for all of them, now and then."""
        for held in self._held.values():
            held.answer()


def claim(directory_dev: int, directory_ino: int, what: str) -> Claim:
    """Claim a directory; `what` it is to us: "feed", "archive" or "warehouse".

    Raises as `claim_named` does.
    """
    return claim_named(f"{directory_dev}:{directory_ino}", what)


def claim_named(key: str, what: str) -> Claim:
    """Claim what is no directory of this host, by a key of at most 64 characters.

    Returns within a fraction of a second. Raises ClaimedError where a claim stands, of this process
    or another one; OSError where the kernel gives no socket.
    """
    name = f"\0backupd/{what}/{key}"
    for _ in range(_TRIES):
        try:
            return Claim(_bound(name))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        pid = _owner(name)
        if pid is not None:
            raise ClaimedError(what, pid)
        time.sleep(_PAUSE)
    raise ClaimedError(what, "unknown")


def _claimed(what: str) -> set[tuple[int, int]]:
    names = re.compile(rf"@backupd/{re.escape(what)}/(\d+):(\d+)$".encode(), re.MULTILINE)
    with suppress(OSError):
        return {(int(dev), int(ino)) for dev, ino in names.findall(_SOCKETS.read_bytes())}
    return set()


def _bound(name: str) -> socket.socket:
    return _opened(name, _listen)


def _listen(opened: socket.socket, name: str) -> None:
    opened.bind(name)
    opened.listen(_BACKLOG)


def _opened(name: str, use: Callable[[socket.socket, str], None]) -> socket.socket:
    """Return a socket that was used for a name; Python's sockets are all close-on-exec."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        use(opened, name)
    except BaseException:
        opened.close()
        raise
    return opened


def _owner(name: str) -> str | None:
    """Return the pid of the process that has a name; None where it has none just now."""
    try:
        asking = _opened(name, socket.socket.connect)
    except ConnectionRefusedError:
        return None
    except BlockingIOError:
        return "unknown"  # very many asked before
    with asking:
        raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, _, _ = _CREDENTIALS.unpack(raw)
    return str(pid) if pid else "unknown"  # 0: it is in a pid namespace that is not seen from here
