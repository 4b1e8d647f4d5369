"""SIGKILL of a daemon at each statement of a compaction in Hive, before it and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.hive_compaction import DATE, STATEMENTS, at_statement
from support.hive_host import a_host, assert_sound, count_files
from support.hives import running_hive
from support.past_files import FILES, comes_to_its_end, compacted, deliver, run_each

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hive_server import HiveServer


SWITCH = "SET LOCATION"
KILLS = [
    pytest.param(merge, each, marks=[] if each == SWITCH else pytest.mark.slow)
    for merge, statements in STATEMENTS.items()
    for each in statements
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("merge", "statement"), KILLS)
def test_killed_at_a_statement(
    tmp_path: Path, server: HiveServer, merge: str, statement: str, *, after: bool
) -> None:
    host = a_host(tmp_path, server, **{"warehouse.hive.merge": f'"{merge}"'})
    run_each(host)
    with host.daemon() as daemon:
        at_statement(server, statement, daemon.process.kill, after=after)
        host.admin("compact")
        assert daemon.process.wait() != 0
    assert_sound(host, server)

    with host.daemon():
        for line in compacted(host):
            assert (line["date"], line["left"]) == (DATE, None)
        assert count_files(server) == 1
        comes_to_its_end(host, deliver(host, FILES))
        assert_sound(host, server, FILES + 1)
