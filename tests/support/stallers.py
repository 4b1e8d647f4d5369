"""Senders that pause in the middle, for longer than `settle_for`, with their file open.

Each is called with the path to deliver to, the content, and a pause in seconds; it returns when the
file is whole and closed.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Staller = Callable[[Path, bytes, float], None]

PIECES = 3


def by_shell_redirection(path: Path, data: bytes, pause: float) -> None:
    """`(echo first; sleep 55; echo second) > x.csv`."""
    command = f"head -c {len(data) // 2}; sleep {pause}; cat"
    _run_with(data, ["sh", "-c", f'({command}) > "$0"', str(path)])


def by_shell_appending(path: Path, data: bytes, pause: float) -> None:
    """`... >> x.csv`, from a program that says something now and then."""
    piece = f"head -c {len(data) // 3}; sleep {pause}"
    command = f"{piece}; {piece}; cat"
    _run_with(data, ["sh", "-c", f'({command}) >> "$0"', str(path)])


def by_dd(path: Path, data: bytes, pause: float) -> None:
    """`dd` from a pipe that stalls, without truncating at the start."""
    with subprocess.Popen(
        ["dd", f"of={path}", "bs=512", "conv=notrunc", "status=none"], stdin=subprocess.PIPE
    ) as dd:
        assert dd.stdin
        for piece in _pieces(data):
            dd.stdin.write(piece)
            dd.stdin.flush()
            time.sleep(pause)  # that it stalls is what it is for
        dd.stdin.close()


def as_scp_does(path: Path, data: bytes, pause: float) -> None:
    """Write under the final name, then set the source's times, then close."""
    with path.open("wb", buffering=0) as file:
        for piece in _pieces(data):
            file.write(piece)
            time.sleep(pause)
        os.utime(file.fileno(), (1_700_000_000, 1_700_000_000))


def by_writing_in_place(path: Path, data: bytes, pause: float) -> None:
    """As `rsync --inplace` does: the size it had, other bytes from the start, the end cut last."""
    with path.open("w+b", buffering=0) as file:
        file.write(b"\0" * (len(data) + 100))
        file.seek(0)
        for piece in _pieces(data):
            file.write(piece)
            time.sleep(pause)
        file.truncate(len(data))


def by_a_mapping(path: Path, data: bytes, pause: float) -> None:
    """The size at once, the content through a mapping, its descriptor closed long since."""
    with path.open("w+b") as file:
        file.truncate(len(data))
        mapped = mmap.mmap(file.fileno(), len(data))
    with mapped:
        at = 0
        for piece in _pieces(data):
            mapped[at : at + len(piece)] = piece
            at += len(piece)
            time.sleep(pause)
        mapped.flush()


def into_a_preallocated_file(path: Path, data: bytes, pause: float) -> None:
    """As torrent clients and some FTP servers do: all its blocks first, then from the end."""
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(data))
        pieces = list(_pieces(data))
        at = len(data)
        for piece in reversed(pieces):
            time.sleep(pause)
            at -= len(piece)
            os.pwrite(file.fileno(), piece, at)


def with_its_old_times(path: Path, data: bytes, pause: float) -> None:
    """A program that sets the times back after each write, as backup tools do."""
    with path.open("wb", buffering=0) as file:
        for piece in _pieces(data):
            file.write(piece)
            os.utime(file.fileno(), (1_700_000_000, 1_700_000_000))
            time.sleep(pause)


def given_its_name_too_early(path: Path, data: bytes, pause: float) -> None:
    """Opened under a hidden name, and given its name while it is still written."""
    hidden = path.with_name(f".{path.name}")
    with hidden.open("wb", buffering=0) as file:
        for number, piece in enumerate(_pieces(data)):
            file.write(piece)
            if number == 0:
                hidden.rename(path)
            time.sleep(pause)


def by_a_child(path: Path, data: bytes, pause: float) -> None:
    """The one that opened it has ended; a child that it left behind goes on writing."""
    script = f'exec 3> "$0" 4<&0; head -c {len(data) // 2} >&3; (sleep {pause}; cat <&4 >&3) &'
    _run_with(data, ["sh", "-c", script, str(path)])


def by_rsync_in_place(path: Path, data: bytes, pause: float) -> None:
    """The real one, at so slow a pace that it takes longer than the pauses of others."""
    _from_a_copy(path, data, ["rsync", "--inplace", "--times", f"--bwlimit={_rate(data, pause)}"])


def by_rsync_appending(path: Path, data: bytes, pause: float) -> None:
    """`--append` goes on where the file ends: half of it is there, written a moment ago."""
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        _from_a_copy(path, data, ["rsync", "--append", f"--bwlimit={_rate(data, pause)}"])


def _rate(data: bytes, pause: float) -> int:
    """Return KiB a second at which the content takes several pauses."""
    return max(1, int(len(data) / 1024 / (pause * PIECES)))


def _from_a_copy(path: Path, data: bytes, command: list[str]) -> None:
    source = path.parents[3] / f"source-{path.name}"
    source.write_bytes(data)
    subprocess.run([*command, str(source), str(path)], check=False)


def _run_with(data: bytes, command: list[str]) -> None:
    """Run a program on this input, until it and all that it left behind have ended."""
    subprocess.run(command, input=data, stdout=subprocess.PIPE, check=False)


def _pieces(data: bytes) -> Iterator[bytes]:
    size = len(data) // PIECES + 1
    for start in range(0, len(data), size):
        yield data[start : start + size]


STALLERS: tuple[Staller, ...] = (
    by_shell_redirection,
    by_shell_appending,
    by_dd,
    as_scp_does,
    by_writing_in_place,
    by_a_mapping,
    into_a_preallocated_file,
    with_its_old_times,
    given_its_name_too_early,
    by_a_child,
    by_rsync_in_place,
    by_rsync_appending,
)
