"""A feed whose directory hangs, as on a network file system, holds up no start and no reload."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, Host, until
from support.freezing import freezing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.freezing import FreezingDirectory

pytestmark = pytest.mark.slow

IN_ALL = 30.0  # seconds from SIGTERM to the end


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, {"intake.rescan_every": '"1s"'})


@pytest.fixture
def frozen(host: Host) -> Iterator[FreezingDirectory]:
    """The first feed's directory."""
    with freezing(host.root, host.inbox) as directory:
        yield directory


def test_it_starts_beside_a_frozen_feed_which_comes_by_itself(
    host: Host, frozen: FreezingDirectory
) -> None:
    (frozen.backing / "meanwhile.csv").write_bytes(b"A;B\n1;2\n")
    frozen.freeze()
    path = str(host.deliver_to_other("small.csv"))
    with host.daemon() as daemon:
        daemon.tells("a directory does not answer: it is judged by its path", path=str(host.inbox))
        daemon.tells("cleanup finished", file=path)
        until(host.shown_incidents, lambda: str(host.shown_incidents()))
        (told,) = host.shown_incidents()
        assert told["feed"] == "traffic/a"
        assert "does not answer" in told["reason"]

        frozen.thaw()
        daemon.tells("cleanup finished", file=str(host.inbox / "meanwhile.csv"))
        until(lambda: not host.shown_incidents(), lambda: str(host.shown_incidents()))
        assert set(host.standing().values()) == {"cleanup done"}
        assert daemon.stop() == 0


def test_it_takes_another_config_beside_a_frozen_feed(
    host: Host, frozen: FreezingDirectory
) -> None:
    with host.daemon() as daemon:
        host.configure({"feeds.traffic.pattern": '"*.dat"'})
        frozen.freeze()
        path = str(host.deliver_to_other("other.dat"))
        daemon.signal(signal.SIGHUP)
        daemon.tells("cleanup finished", file=path)
        (frozen.backing / "meanwhile.dat").write_bytes(b"A;B\n1;2\n")
        frozen.thaw()
        daemon.tells("cleanup finished", file=str(host.inbox / "meanwhile.dat"))
        assert daemon.stop() == 0


def test_a_stop_is_heard_while_the_config_is_read(host: Host, frozen: FreezingDirectory) -> None:
    with host.daemon() as daemon:
        frozen.freeze()
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(IN_ALL) == 0
        assert daemon.told()[-1]["event"] == "stopped"
        assert not [line for line in daemon.told() if line["event"] == "reloading the config"]


def test_a_start_beside_a_frozen_feed_can_be_stopped(host: Host, frozen: FreezingDirectory) -> None:
    frozen.freeze()
    with host.daemon() as daemon:
        daemon.signal(signal.SIGTERM)
        assert daemon.process.wait(IN_ALL) == 0


def test_a_single_pass_does_all_but_the_frozen_feed(host: Host, frozen: FreezingDirectory) -> None:
    (frozen.backing / "meanwhile.csv").write_bytes(b"A;B\n1;2\n")
    frozen.freeze()
    str(host.deliver_to_other("small.csv"))
    with host.daemon(once=True) as daemon:
        assert daemon.process.wait(PATIENCE) == 1
    assert host.standing() == {"small.csv": "cleanup done"}


def test_a_check_says_what_it_did_not_look_at(host: Host, frozen: FreezingDirectory) -> None:
    frozen.freeze()
    checked = host.backupd("check")
    assert checked.returncode == 0
    assert f"{host.inbox} does not answer: it was not looked at" in checked.stderr

    probed = host.backupd("check", "--probe")
    assert probed.returncode == 1
    assert "it does not answer" in probed.stdout

    host.config.write_text(f"{host.config.read_text()}\nbatch.max_files = 0\n")
    assert host.backupd("check").returncode == 2
