"""Backup files like the real ones: semicolon-delimited call records with a header line."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEADER = b"record_id;msisdn;imsi;started_at;seconds;bytes_up;bytes_down;cell;result\n"
_POOL_LINES = 60_000  # about 5 MB: far beyond gzip's window, so that repeating it saves nothing

FILE_TYPES = ("traffic", "tolling")
CUSTOMERS = ("eLUX", "SKYROAM")
FEEDS = tuple((file_type, customer) for file_type in FILE_TYPES for customer in CUSTOMERS)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files of one size, spread over the feeds: below `directory`, `<file type>/<customer>`."""

    directory: Path
    files: int
    file_bytes: int

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return self.files * self.file_bytes

    def lay_out(self, target: Path) -> list[Path]:
        """Copy the files to where a job is to find them; return the feeds' directories."""
        shutil.copytree(self.directory, target)
        os.sync()  # what is still to be written must not disturb what is then measured
        return [target / file_type / customer for file_type, customer in FEEDS]


def make(directory: Path, files: int, file_bytes: int) -> Corpus:
    """Write the files."""
    chance = random.Random(file_bytes)  # noqa: S311 - the same files each time
    pool = _pool(chance)
    for file_type, customer in FEEDS:
        (directory / file_type / customer).mkdir(parents=True)
    for number in range(files):
        file_type, customer = FEEDS[number % len(FEEDS)]
        path = directory / file_type / customer / name(customer, number)
        path.write_bytes(_content(pool, chance, file_bytes))
    return Corpus(directory, files, file_bytes)


def name(customer: str, number: int) -> str:
    """Return a file name; files come a second apart."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(1_790_000_000 + number))
    return f"{customer}_HOL_01_{stamp}_{number:06d}.csv"


def _content(pool: bytes, chance: random.Random, size: int) -> bytes:
    start = chance.randrange(len(pool))
    room = size - len(HEADER)
    body = (pool[start:] + pool * (room // len(pool) + 1))[: room - 1]
    return HEADER + body + b"\n"


def _pool(chance: random.Random) -> bytes:
    return b"".join(_record(chance, number) for number in range(_POOL_LINES))


def _record(chance: random.Random, number: int) -> bytes:
    msisdn = f"3519{chance.randrange(10**8):08d}"
    imsi = f"26806{chance.randrange(10**10):010d}"
    started = f"202611{chance.randrange(1, 31):02d}{chance.randrange(86_400):05d}"
    up, down = int(chance.expovariate(1e-4)), int(chance.expovariate(1e-6))
    seconds = int(chance.expovariate(1 / 180))
    cell, result = chance.randrange(40_000), chance.choice(("OK", "OK", "OK", "DROP", "BUSY"))
    line = f"{number:08d};{msisdn};{imsi};{started};{seconds};{up};{down};HOL-{cell};{result}\n"
    return line.encode()
