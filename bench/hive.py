"""How fast rows go into a real Hive: `make bench-hive`.

For each way to merge: what a batch takes by its size, batches a minute and rows a second at the
default size, and what share load and merge have of a whole `backupd run --once`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.warehouse import open_warehouse
from support.daemon import Host, log_of
from support.hadoop import running_hadoop
from support.hadoop_tables import PARQUET, new_table
from support.rows import new_batch

if TYPE_CHECKING:
    from backupd.config.sections import HiveSection, WarehouseSection
    from backupd.core.ports import Warehouse
    from support.hadoop import Hadoop

ORC = "STORED AS ORC TBLPROPERTIES ('transactional' = 'false')"
WAYS = {"files": PARQUET, "insert": ORC}  # each into a table that wants it
SIZES = (500, 5_000, 50_000)  # rows, over three dates
BATCHES = 20
FILES = 1_000


async def _seconds(warehouse: Warehouse, rows: int) -> tuple[float, float]:
    """Return what load and merge of one batch take."""
    batch, made = new_batch(rows, days=3)
    began = time.monotonic()
    await warehouse.load(batch, made)
    loaded = time.monotonic()
    await warehouse.merge(batch, made)
    return loaded - began, time.monotonic() - loaded


async def _batches(section: WarehouseSection) -> None:
    warehouse = open_warehouse(section)
    await _seconds(warehouse, 1)  # the first statements of a session are slow
    for rows in SIZES:
        load, merge = await _seconds(warehouse, rows)
        print(f"  {rows:>6} rows: load {load:5.2f} s, merge {merge:5.2f} s")
    began = time.monotonic()
    for _ in range(BATCHES):
        await _seconds(warehouse, SIZES[0])
    seconds = (time.monotonic() - began) / BATCHES
    print(f"  {60 / seconds:.0f} batches a minute, {SIZES[0] / seconds:.0f} rows a second")
    await warehouse.aclose()


def _pipeline(hive: HiveSection, root: Path) -> None:
    root.mkdir()
    host = Host(
        root,
        {
            "warehouse.kind": '"hive"',
            "warehouse.hive.host": f'"{hive.host}"',
            "warehouse.hive.port": str(hive.port),
            "warehouse.hive.merge": f'"{hive.merge}"',
            "warehouse.hive.staging_table": f'"{hive.staging_table}"',
            "warehouse.hive.production_table": f'"{hive.production_table}"',
            "warehouse.hive.staging_url": f'"{hive.staging_url}"',
        },
    )
    for number in range(FILES):
        host.deliver(f"{number}.csv")
    began = time.monotonic()
    told = log_of(host.once().stderr)
    seconds = time.monotonic() - began
    spent = {"load": 0.0, "merge": 0.0}
    for line in told:
        if line["event"] in ("load finished", "merge finished"):
            spent[line["stage"]] += line["duration_s"]
    shares = ", ".join(f"{stage} {each / seconds:.0%}" for stage, each in spent.items())
    print(f"  {FILES} files through every stage in {seconds:.1f} s; of that time {shares}")


def _measure(hadoop: Hadoop, way: str, root: Path) -> None:
    print(f"merge = {way!r}")
    asyncio.run(_batches(new_table(hadoop, WAYS[way], merge=way)))
    hive = new_table(hadoop, WAYS[way], merge=way).hive
    assert hive  # noqa: S101 - a table in Hive has it
    _pipeline(hive, root / way)


def main() -> None:
    """Start the servers, measure, stop them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "hadoop").mkdir()
        with running_hadoop(root / "hadoop") as hadoop:
            for way in WAYS:
                _measure(hadoop, way, root)


if __name__ == "__main__":
    main()
