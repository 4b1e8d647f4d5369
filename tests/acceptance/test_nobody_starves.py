"""One feed's endless work holds up no other feed, and no stop."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest

from support.daemon import Host

if TYPE_CHECKING:
    from pathlib import Path

A_TERABYTE = 1 << 40
EMPTY = gzip.compress(b"", mtime=0)


def _a_terabyte_of_holes(path: Path) -> None:
    path.touch()
    os.truncate(path, A_TERABYTE)


def _empty_members(path: Path) -> None:
    path.write_bytes(EMPTY * (3 << 20))


ENDLESS = {
    "holes.csv": _a_terabyte_of_holes,
    "holes.csv.gz": _a_terabyte_of_holes,
    "members.csv.gz": _empty_members,
}


def deliver_endless(host: Host, name: str, count: int) -> None:
    """Put so many such files into the first feed's directory."""
    first = host.inbox / f".{name}"
    ENDLESS[name](first)
    if name == "holes.csv.gz":
        with first.open("r+b") as file:
            file.write(EMPTY)  # what follows it is padding
    for number in range(count):
        os.link(first, host.inbox / f"{number}_{name}")
    first.unlink()


@pytest.mark.parametrize("name", ENDLESS)
def test_files_that_take_for_ever_to_read_hold_up_no_other_feed(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path, {"intake.open_files": '"off"'})
    deliver_endless(host, name, 6)
    with host.daemon() as daemon:
        daemon.tells("settle finished", feed="traffic/a")
        small = tmp_path / "in" / "b" / "small.csv"
        small.write_bytes(b"A;B\n1;2\n")
        daemon.tells("cleanup finished", file=str(small))
