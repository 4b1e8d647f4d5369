"""One feed's endless work holds up no other feed, and no stop."""

from __future__ import annotations

import gzip
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, Host, until
from support.freezing import FreezingDirectory, freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

A_TERABYTE = 1 << 40
IN_ALL = 30.0  # seconds from SIGTERM to the end
DRAIN = 20.0  # seconds of these, that running files get
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
        small = host.deliver_to_other("small.csv")
        daemon.tells("cleanup finished", file=str(small))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, {"intake.rescan_every": '"1s"'})


@pytest.fixture
def frozen(host: Host) -> Iterator[FreezingDirectory]:
    """The first feed's directory, as on a server that may hang."""
    with freezing(host.root, host.inbox) as directory:
        yield directory


@pytest.mark.slow
def test_a_directory_that_freezes_holds_only_its_own_feed(
    host: Host, frozen: FreezingDirectory
) -> None:
    with host.daemon() as daemon:
        (frozen.backing / "before.csv").write_bytes(b"A;B\n1;2\n")
        daemon.tells("cleanup finished", file=str(host.inbox / "before.csv"))
        frozen.freeze()
        (frozen.backing / "meanwhile.csv").write_bytes(b"A;B\n1;2\n")
        for number in range(5):
            path = host.deliver_to_other(f"small{number}.csv")
            daemon.tells("cleanup finished", file=str(path))

        until(host.shown_incidents, lambda: str(host.shown_incidents()))
        (told,) = host.shown_incidents()
        assert told["feed"] == "traffic/a"
        assert "does not answer" in told["reason"]
        assert daemon.threads() < 40

        frozen.thaw()
        daemon.tells("cleanup finished", file=str(host.inbox / "meanwhile.csv"))
        until(lambda: not host.shown_incidents(), lambda: str(host.shown_incidents()))
        assert set(host.standing().values()) == {"cleanup done"}
        assert daemon.stop() == 0


# -- the stop -------------------------------------------------------------------------------------


@contextmanager
def reading_for_ever(host: Host) -> Iterator[Daemon]:
    """Run the daemon; files of a terabyte are being read."""
    deliver_endless(host, "holes.csv", 4)
    with host.daemon() as daemon:
        until(lambda: "manifest running" in host.standing().values(), lambda: str(host.standing()))
        yield daemon


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_stop_waits_for_no_endless_read(tmp_path: Path, number: signal.Signals) -> None:
    host = Host(tmp_path)
    with reading_for_ever(host) as daemon:
        daemon.signal(number)
        assert daemon.process.wait(IN_ALL) == 0
        assert daemon.told()[-1]["event"] == "stopped"
    assert set(host.standing().values()) == {"manifest waiting"}
    assert {file.attempts for file in host.files()} == {0}


def test_a_second_signal_ends_an_endless_read_at_once(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with reading_for_ever(host) as daemon:
        daemon.signal(signal.SIGTERM)
        daemon.tells("stopping")
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(IN_ALL) == 0
        assert time.monotonic() - began < DRAIN
    assert host.admin("status").returncode == 0


@pytest.mark.slow
def test_a_frozen_directory_holds_up_no_stop(host: Host, frozen: FreezingDirectory) -> None:
    with host.daemon() as daemon:
        frozen.freeze()
        until(host.shown_incidents, lambda: str(host.shown_incidents()))
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(IN_ALL) == 0
        assert daemon.told()[-1]["event"] == "stopped"


@pytest.mark.slow
def test_a_single_pass_ends_beside_a_frozen_directory(
    host: Host, frozen: FreezingDirectory
) -> None:
    _a_terabyte_of_holes(frozen.backing / "holes.csv")
    path = host.deliver_to_other("small.csv")
    with host.daemon(once=True) as daemon:
        frozen.freeze()
        assert daemon.process.wait(2 * PATIENCE) == 1
    assert not path.exists()
    assert host.standing()["small.csv"] == "cleanup done"
    assert host.standing()["holes.csv"].endswith("waiting")
