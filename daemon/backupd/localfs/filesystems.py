"""On what kind of file system a path is, and whether anything answers there.

Source: proc(5), `/proc/[pid]/mountinfo` and `/proc/[pid]/fdinfo`.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NETWORK_FILESYSTEMS: frozenset[str] = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.cephfs",
    "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs",
    "fuse.moosefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs", "virtiofs",
})  # fmt: skip
"""Types whose files other hosts change too: inotify sees nothing of it, locks may not hold."""


def filesystem_type(path: Path) -> str:
    """Return the type ("ext4", "nfs4") of the file system under the nearest existing directory.

    The kernel is asked for the mount of an open directory: paths in the mount table can be hidden
    by later mounts. Raises OSError where /proc cannot be read.
    """
    mount = mount_id(existing_directory(path))
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        if line.startswith(f"{mount} "):
            return line.partition(" - ")[2].split()[0]
    raise OSError(f"/proc/self/mountinfo does not know the file system of {path}")


def is_directory(path: Path) -> bool:
    """Return whether a directory (or a symlink to one) can be seen there; never raises."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises below one that may not be entered


def existing_directory(path: Path) -> Path:
    """Return the path itself or its nearest parent that is a directory."""
    return next(each for each in (path, *path.parents) if is_directory(each))


def mount_id(directory: Path) -> int:
    """Return the number that the mount table has for a directory's mount. Raises OSError."""
    # The trailing dot has an automounter mount what belongs there.
    descriptor = os.open(f"{directory}/.", os.O_PATH | os.O_CLOEXEC)
    try:
        fields = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split()
    finally:
        os.close(descriptor)
    return int(fields[fields.index("mnt_id:") + 1])


_PAUSE = 0.1  # seconds


def silent(paths: Iterable[str], within: float) -> frozenset[str]:
    """Return those paths for which no answer comes in so many seconds, all of them together.

    One thread asks for one after the other. As long as some are left, others join it, after each
    pause twice as many; those that hang are left behind.
    """
    unanswered = set(paths)
    unasked = list(unanswered)
    all_answered = threading.Event()

    def ask() -> None:
        with suppress(IndexError):  # another thread took the last one
            while True:
                path = unasked.pop()
                with suppress(OSError):
                    os.statvfs(path)  # by the server: of a stat the kernel may remember the answer
                unanswered.discard(path)
                if not unanswered:
                    all_answered.set()

    ends_at, joining = time.monotonic() + within, 1
    while unanswered and time.monotonic() < ends_at:
        with suppress(RuntimeError):  # no more threads are to be had
            for _ in range(min(joining, len(unasked))):
                threading.Thread(target=ask, name="silence", daemon=True).start()
        joining *= 2
        all_answered.wait(_PAUSE)
    return frozenset(unanswered).difference(unasked)
