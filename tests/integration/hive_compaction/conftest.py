"""A scripted Hive, a warehouse on it by either merge, and partitions with several files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.warehouse.hive import compaction, earlier_statements
from backupd.warehouse.hive.replaced_dirs import ReplacementMemory
from support.hive_compaction import open_one, some_batches
from support.hives import running_hive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from backupd.core.rows import ProductionRow
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.hive_server import HiveServer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for statements of before."""
    for name in ("_DIES_WITHIN", "_STOPS_WITHIN", "_ASK_EVERY"):
        monkeypatch.setattr(earlier_statements, name, 0.01)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HiveServer]:
    """A server with an empty table."""
    with running_hive(tmp_path / "hive") as started:
        yield started


@pytest.fixture
def memory() -> ReplacementMemory:
    """What is remembered of replacements."""
    return ReplacementMemory()


@pytest.fixture(params=["files", "insert"])
def merge(request: pytest.FixtureRequest) -> str:
    """Each of the merges."""
    return str(request.param)


@pytest.fixture
async def warehouse(
    server: HiveServer, merge: str, memory: ReplacementMemory
) -> AsyncIterator[HiveWarehouse]:
    """A warehouse on the server."""
    opened = open_one(server, merge, memory)
    yield opened
    await opened.aclose()


@pytest.fixture
async def rows(warehouse: HiveWarehouse) -> list[ProductionRow]:
    """Those of three batches, each with a file in both dates."""
    return await some_batches(warehouse)


@pytest.fixture
def a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was replaced was replaced a day ago."""
    monkeypatch.setattr(compaction, "KEPT_FOR", 0.0)
