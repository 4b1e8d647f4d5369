"""One feed's endless work holds up no other feed, and no stop."""

from __future__ import annotations

import gzip
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from support.daemon import Host, until
from support.freezing import FreezingDirectory, freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, {"intake.rescan_every": '"1s"'})


@pytest.fixture
def frozen(host: Host) -> Iterator[FreezingDirectory]:
    """The first feed's directory, as on a server that may hang."""
    with freezing(host.root, host.inbox) as directory:
        yield directory


def small_file(host: Host, name: str) -> Path:
    """Put a small file into the second feed's directory."""
    path = host.root / "in" / "b" / name
    path.write_bytes(b"A;B\n1;2\n")
    return path


def incidents(host: Host) -> list[dict[str, Any]]:
    """Return the open incidents."""
    shown = host.admin("incidents", "--json").stdout
    return [json.loads(line) for line in shown.splitlines()]


def test_a_directory_that_freezes_holds_only_its_own_feed(
    host: Host, frozen: FreezingDirectory
) -> None:
    with host.daemon() as daemon:
        (frozen.backing / "before.csv").write_bytes(b"A;B\n1;2\n")
        daemon.tells("cleanup finished", file=str(host.inbox / "before.csv"))
        frozen.freeze()
        (frozen.backing / "meanwhile.csv").write_bytes(b"A;B\n1;2\n")
        for number in range(5):
            path = small_file(host, f"small{number}.csv")
            daemon.tells("cleanup finished", file=str(path))

        until(lambda: incidents(host), lambda: str(incidents(host)))
        (told,) = incidents(host)
        assert told["feed"] == "traffic/a"
        assert "does not answer" in told["reason"]
        assert daemon.threads() < 40

        frozen.thaw()
        daemon.tells("cleanup finished", file=str(host.inbox / "meanwhile.csv"))
        until(lambda: not incidents(host), lambda: str(incidents(host)))
        assert set(host.standing().values()) == {"cleanup done"}
        assert daemon.stop() == 0
