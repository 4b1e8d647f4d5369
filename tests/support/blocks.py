"""File systems of their own on loop devices, whose power can be cut. As root, on Linux."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLOSED_WITHIN = 30.0  # seconds
MOUNTED_WITHIN = 120.0
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN, and XFS's own name for it
_NO_LOG_FLUSH = 2  # what stands in memory is lost, the journal's too: as a power cut does it
_MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


class Disk:
    """A file system in a file, mounted at `place`."""

    def __init__(self, image: Path, place: Path, kind: str, mib: int = 320) -> None:
        """`kind` is "ext4" or "xfs", which wants 300 MiB at least."""
        place.mkdir(parents=True, exist_ok=True)
        image.touch()
        os.truncate(image, mib << 20)
        _run(*_MAKE[kind], str(image))
        self.place = place
        self._image = image
        self.mount()

    def mount(self) -> None:
        """Have it there, and sound.

        Somebody else's copy of our mounts (`unshare --mount`) keeps a file system alive whose power
        was cut: then it is mounted again until that one is gone.
        """
        deadline = time.monotonic() + MOUNTED_WITHIN
        self._mount()
        while self._is_dead():
            assert time.monotonic() < deadline, f"{self._image} is still mounted elsewhere"
            self.unmount()
            time.sleep(0.2)
            self._mount()

    def _is_dead(self) -> bool:
        try:
            self.flush()
        except OSError:
            return True
        return False

    def _mount(self) -> None:
        _run("mount", "-o", "loop,nodev,nosuid", str(self._image), str(self.place))
        self.is_mounted = True

    def unmount(self) -> None:
        """Take it away, when nobody has anything of it open any more."""
        deadline = time.monotonic() + CLOSED_WITHIN
        while not _umount(self.place):
            assert time.monotonic() < deadline, f"{self.place} is still in use"
            time.sleep(0.05)
        self.is_mounted = False

    def cut_power(self) -> None:
        """Lose all that was not flushed; every use of it fails until it is mounted anew."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def flush(self) -> None:
        """Have all that was written to it on the disk, as careful senders do."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor):
                raise OSError(ctypes.get_errno(), "syncfs", str(self.place))
        finally:
            os.close(descriptor)


@contextmanager
def disk(image: Path, place: Path, kind: str = "ext4", mib: int = 320) -> Iterator[Disk]:
    """Make and mount one; take it away in the end, what it holds stays in the image."""
    made = Disk(image, place, kind, mib)
    try:
        yield made
    finally:
        if made.is_mounted:
            made.unmount()


def _umount(place: Path) -> bool:
    """Return False where it is in use."""
    result = subprocess.run(["umount", str(place)], capture_output=True, text=True, check=False)
    assert result.returncode == 0 or "busy" in result.stderr, result.stderr
    return result.returncode == 0


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}: {result.stderr}"
