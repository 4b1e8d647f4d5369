"""A file system that freezes, as NFS does when its server hangs: FUSE over a directory, by root.

Run as `python freezing.py BACKING MOUNTPOINT`; it says `ready` once mounted. SIGUSR1 stops it
between two requests: one that it had read would make its caller immune to SIGKILL. While it is
stopped, every call into the mount hangs; once it is gone, they all fail.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of the kernel's include/uapi/linux/fuse.h, version 7.31.
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_NO_ANSWER = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_ROOT = 1
_REQUEST = 1 << 17  # bytes; the longest is a write


class FreezingDirectory:
    """A directory that is mounted elsewhere, and freezes there when it is told to."""

    def __init__(self, backing: Path, mounted: Path) -> None:
        self.backing = backing
        self.path = mounted
        command = [sys.executable, __file__, str(backing), str(mounted)]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._server.stdout
        assert self._server.stdout.readline() == b"ready\n"

    def freeze(self) -> None:
        self._server.send_signal(signal.SIGUSR1)
        os.waitid(os.P_PID, self._server.pid, os.WSTOPPED)

    def thaw(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Take it away: whoever hangs in it hears of an error."""
        self._server.kill()
        self._server.communicate()
        subprocess.run(["umount", "--lazy", self.path], check=True)


@contextlib.contextmanager
def freezing(root: Path, mounted: Path) -> Iterator[FreezingDirectory]:
    """Mount a new directory below `root` over `mounted` for as long as the block takes."""
    backing = root / f"backing-{mounted.name}"
    backing.mkdir()
    directory = FreezingDirectory(backing, mounted)
    try:
        yield directory
    finally:
        directory.end()


class _Server:
    """Answers the kernel: what it asks is done in the backing directory."""

    def __init__(self, backing: Path) -> None:
        self._paths: dict[int, Path] = {_ROOT: backing}
        self._nodes: dict[Path, int] = {backing: _ROOT}
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: self._getattr,
            4: self._setattr,
            9: self._mkdir,
            10: self._unlink,
            11: self._rmdir,
            12: lambda node, body: self._rename(node, body, 8),
            13: self._link,
            14: self._open,
            15: self._read,
            16: self._write,
            17: lambda *_: struct.pack("<5Q4I6I", *[1 << 30] * 5, 4096, 255, 4096, *[0] * 7),
            18: self._release,
            20: lambda *_: b"",
            26: self._init,
            27: lambda *_: bytes(16),
            28: self._readdir,
            29: lambda *_: b"",
            30: lambda *_: b"",
            35: self._create,
            45: lambda node, body: self._rename(node, body, 16),
        }

    def serve(self, device: int) -> None:
        while True:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
            select.select([device], [], [])
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            try:
                request = os.read(device, _REQUEST)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise
            self._serve(device, request)

    def _serve(self, device: int, request: bytes) -> None:
        _, code, unique, node, *_ = _IN.unpack_from(request)
        if code in _NO_ANSWER:
            return
        answer, failure = b"", 0
        try:
            answer = self._answers[code](node, request[_IN.size :])
        except KeyError:
            failure = errno.ENOSYS
        except OSError as error:
            failure = error.errno or errno.EIO
        with contextlib.suppress(FileNotFoundError):  # who asked was killed
            os.write(device, _OUT.pack(_OUT.size + len(answer), -failure, unique) + answer)

    @staticmethod
    def _init(_: int, body: bytes) -> bytes:
        major, minor, readahead = struct.unpack_from("<3I", body)
        answer = struct.pack("<4I2H2I2H8I", major, min(minor, 31), readahead, 0, *[0] * 14)
        return answer[:20] + struct.pack("<I", 1 << 16) + answer[24:]

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._paths[node] / os.fsdecode(body.rstrip(b"\0")))

    def _entry(self, path: Path) -> bytes:
        about = path.lstat()
        known = self._nodes.setdefault(path, len(self._paths) + 1)
        self._paths[known] = path
        return struct.pack("<4Q2I", known, 0, 0, 0, 0, 0) + _attr(about)

    def _getattr(self, node: int, body: bytes) -> bytes:
        by_handle, _, handle = struct.unpack_from("<IIQ", body)
        about = os.fstat(handle) if by_handle & 1 else self._paths[node].lstat()
        return bytes(16) + _attr(about)

    def _setattr(self, node: int, body: bytes) -> bytes:
        path, (mode,) = self._paths[node], struct.unpack_from("<I", body, 68)
        path.chmod(mode & 0o7777)  # nothing else of it is ever set
        return bytes(16) + _attr(path.lstat())

    def _open(self, node: int, _: bytes) -> bytes:
        return struct.pack("<QII", os.open(self._paths[node], os.O_RDONLY), 1, 0)  # not cached

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self._paths[node] / os.fsdecode(body[16:].rstrip(b"\0"))
        handle = os.open(path, flags & (os.O_ACCMODE | os.O_EXCL) | os.O_CREAT, mode)
        return self._entry(path) + struct.pack("<QII", handle, 1, 0)

    def _mkdir(self, node: int, body: bytes) -> bytes:
        path = self._paths[node] / os.fsdecode(body[8:].rstrip(b"\0"))
        path.mkdir()
        return self._entry(path)

    def _link(self, node: int, body: bytes) -> bytes:
        (old,) = struct.unpack_from("<Q", body)
        path = self._paths[node] / os.fsdecode(body[8:].rstrip(b"\0"))
        path.hardlink_to(self._paths[old])
        return self._entry(path)

    @staticmethod
    def _write(_: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(handle, body[40 : 40 + size], offset), 0)

    @staticmethod
    def _read(_: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(handle, size, offset)

    @staticmethod
    def _release(_: int, body: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", body)[0])
        return b""

    def _readdir(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        names = sorted(path.name for path in self._paths[node].iterdir())
        answer = b""
        for number, name in enumerate(names[offset:], offset + 1):
            encoded = os.fsencode(name)
            about = (self._paths[node] / name).lstat()
            kind = about.st_mode >> 12
            entry = struct.pack("<QQII", about.st_ino, number, len(encoded), kind) + encoded
            entry += bytes(-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._paths[node] / os.fsdecode(body.rstrip(b"\0"))
        path.unlink()
        self._nodes.pop(path, None)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        path = self._paths[node] / os.fsdecode(body.rstrip(b"\0"))
        path.rmdir()
        self._nodes.pop(path, None)
        return b""

    def _rename(self, node: int, body: bytes, names_at: int) -> bytes:
        (directory,) = struct.unpack_from("<Q", body)
        old, new, *_ = body[names_at:].split(b"\0")
        source = self._paths[node] / os.fsdecode(old)
        target = self._paths[directory] / os.fsdecode(new)
        if names_at > 8 and target.exists():  # RENAME_NOREPLACE is all that we ask for
            raise FileExistsError(errno.EEXIST, "is there")
        source.rename(target)
        known = self._nodes.pop(source)
        self._nodes[target], self._paths[known] = known, target
        return b""


def _attr(about: os.stat_result) -> bytes:
    times = (about.st_atime_ns, about.st_mtime_ns, about.st_ctime_ns)
    return _ATTR.pack(
        about.st_ino,
        about.st_size,
        about.st_blocks,
        *(time // 10**9 for time in times),
        *(time % 10**9 for time in times),
        about.st_mode,
        about.st_nlink,
        about.st_uid,
        about.st_gid,
        about.st_rdev,
        4096,
        0,
    )


def _mount(device: int, mountpoint: str) -> None:
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"freezing", os.fsencode(mountpoint), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "cannot mount", mountpoint)


def _main(backing: str, mountpoint: str) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
    device = os.open("/dev/fuse", os.O_RDWR)
    _mount(device, mountpoint)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    _Server(Path(backing)).serve(device)


if __name__ == "__main__":
    _main(*sys.argv[1:])
