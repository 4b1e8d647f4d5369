"""An embedded warehouse that hangs, as on a network file system: it is down, all else goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, Host, until
from support.freezing import freezing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_it_starts_and_takes_another_config_beside_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (tmp_path / "warehouse").mkdir()
    with freezing(tmp_path, tmp_path / "warehouse") as frozen:
        with host.daemon() as daemon:
            before = host.deliver("before.csv")
            daemon.tells("cleanup finished", file=str(before))
            assert daemon.stop() == 0
        frozen.freeze()
        with host.daemon() as daemon:
            path = host.deliver("meanwhile.csv")
            daemon.tells("manifest finished", file=str(path))
            daemon.tells("dependency down", dependency="warehouse")
            (told,) = host.shown_incidents("--all")
            assert told["cause"] == "warehouse"
            assert "does not answer" in told["reason"]

            daemon.signal(signal.SIGHUP)
            daemon.tells("reloading the config")
            until(
                lambda: [line["event"] for line in daemon.told()].count("ready") > 1,
                lambda: str(daemon.told()),
                within=3 * PATIENCE,
            )
            frozen.thaw()
            daemon.tells("cleanup finished", file=str(path))
            daemon.tells("incident closed")
            assert daemon.stop() == 0
        assert len(host.shown_incidents("--all")) == 1
        assert {file.attempts for file in host.files()} == {0}
        assert [row["file_name"] for row in host.rows()] == ["before.csv", "meanwhile.csv"]
