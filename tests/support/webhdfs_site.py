"""A warehouse whose staging folder is in a scriptable HDFS with two NameNodes."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import DependencyDownError
from backupd.warehouse import open_warehouse
from support.hives import hive_section, running_hive, staging_section
from support.merging import until_merged
from support.rows import new_batch
from support.webhdfs_server import running_webhdfs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.rows import ProductionRow
    from support.hive_server import HiveServer
    from support.http_serving import Answer, Request
    from support.webhdfs_server import WebHdfsServer

FOLDER = "/user/backupd/staging"
MERGES = ("files", "insert")
OPERATIONS = [
    *(
        ("files", each)
        for each in (
            "GETFILESTATUS",
            "MKDIRS",
            "SETPERMISSION",
            "CREATE",
            "CREATE data",
            "RENAME",
            "OPEN",
            "OPEN data",
            "DELETE",
        )
    ),
    *(("insert", each) for each in ("MKDIRS", "SETPERMISSION", "CREATE", "CREATE data", "DELETE")),
]
"""What load and merge ask of HDFS, by the kind of merge."""


@dataclass
class Site:
    """Two NameNodes of one HDFS, the second one standby, and a HiveServer2 that works there."""

    hive: HiveServer
    pair: list[WebHdfsServer]
    opened: list[Warehouse] = field(default_factory=list)

    def open(
        self, *servers: WebHdfsServer, merge: str = "files", query: str = "", **changes: object
    ) -> Warehouse:
        """Open a warehouse whose staging folder is at these servers, with changes in that."""
        scheme = "swebhdfs" if servers[0].name_node.tls else "webhdfs"
        places = ",".join(f"127.0.0.1:{each.port}" for each in servers)
        staging = staging_section(f"{scheme}://{places}{FOLDER}{query}", **changes)
        warehouse = open_warehouse(hive_section(self.hive, merge=merge, staging=staging))
        self.opened.append(warehouse)
        return warehouse


@asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[Site]:
    """Start all servers; close what was opened and stop them in the end."""
    with running_hive(directory) as hive, running_webhdfs(directory, count=2) as pair:
        hive.tables.hdfs = directory
        pair[1].state = "standby"
        site = Site(hive, pair)
        try:
            yield site
        finally:
            for each in site.opened:
                await each.aclose()


async def merged(warehouse: Warehouse, failures: int = 0) -> None:
    """Have a batch merged, with at most so many failures on its way."""
    batch, rows = new_batch(4, days=2)
    assert len(await until_merged(warehouse, batch, rows)) <= failures
    await there_once(warehouse, rows)


async def there_once(warehouse: Warehouse, rows: Sequence[ProductionRow]) -> None:
    """See that production has each of these rows once, beside others."""
    ours = {row.file_id for row in rows}
    found = Counter([key.file_id async for key in warehouse.rows({row.file_date for row in rows})])
    assert {each: count for each, count in found.items() if each in ours} == dict.fromkeys(ours, 1)


async def refused(warehouse: Warehouse, words: str, cure: str = "") -> str:
    """Have a look at the folder refused; return all that was told."""
    with pytest.raises(DependencyDownError, match=words) as caught:
        await warehouse.sweep([])
    assert cure in caught.value.hint, caught.value
    return f"{caught.value} {caught.value.hint}"


def at_call(server: WebHdfsServer, name: str, happening: Callable[[], None]) -> None:
    """Have something happen once, just before the NameNode answers this operation."""
    answer, waiting = server._answer_by_name_node, [happening]

    def answered(operation: str, request: Request) -> Answer:
        if waiting and operation == name:
            waiting.pop()()
        return answer(operation, request)

    server._answer_by_name_node = answered  # type: ignore[assignment]


def notes(server: WebHdfsServer) -> list[tuple[str, Request]]:
    """Have each request noted that comes over a new connection, and to which node it came."""
    seen: list[tuple[str, Request]] = []
    respond = server._respond

    def noted(node: str, request: Request) -> Answer | None:
        seen.append((node, request))
        return respond(node, request)  # type: ignore[arg-type]  # one of the two

    server._respond = noted  # type: ignore[method-assign]
    return seen
