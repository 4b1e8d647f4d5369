"""System calls of a running process that fail, by strace."""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# What a disk, a kernel or a sandbox can answer to each group of calls.
_ANSWERS = {
    "fsync,fdatasync": ("EIO", "ENOSPC", "EINTR"),
    "?rename,?renameat,?renameat2": ("EIO", "ENOSPC", "EINTR"),
    "?unlink,?unlinkat": ("EIO", "EBUSY", "EINTR"),
    "write,pwrite64,?writev": ("EIO", "ENOSPC", "EINTR"),
    "?open,?openat,?openat2": ("EIO", "EMFILE", "ENOMEM", "EINTR"),
    "read,pread64": ("EIO", "EINTR"),
    "?link,?linkat": ("EIO", "ENOSPC"),
    "?mkdir,?mkdirat": ("EIO", "ENOSPC"),
    "getdents64": ("EIO",),
    "?stat,?lstat,fstat,?newfstatat,?statx": ("EIO", "ENOMEM"),
    "ftruncate,?fallocate": ("EIO", "ENOSPC"),
    "?copy_file_range,?sendfile": ("EIO", "ENOSPC"),
}


@dataclass(frozen=True)
class Fault:
    """The calls that fail, with what, and which of them: from the n-th of a thread to the m-th."""

    calls: str
    error: str
    first: int
    last: int

    @classmethod
    def chosen(cls, rng: random.Random) -> Fault:
        calls = rng.choice(sorted(_ANSWERS))
        first = rng.randint(1, 15)
        return cls(calls, rng.choice(_ANSWERS[calls]), first, first + rng.randrange(3))

    def __str__(self) -> str:
        return f"{self.calls}:error={self.error}:when={self.first}..{self.last}"


@contextmanager
def failing(fault: Fault, pids: Sequence[int], log: Path) -> Iterator[None]:
    """Have calls of these processes and of those that they start fail, as long as it is entered.

    `log` gets the calls that failed.
    """
    command = ["strace", "-f", "-Z", "-o", str(log), "-e", f"trace={fault.calls}"]
    command += ["-e", f"inject={fault}", *(f"--attach={pid}" for pid in pids)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr
            attached = 0
            while attached < len(pids):
                line = strace.stderr.readline()
                assert line, f"strace ended: {command}"
                attached += "attached" in line
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate()
