"""How fast rows go into a real Hive: `make bench-hive`.

For each way to merge: what a batch takes by its size, batches a minute and rows a second at the
default size, and what share load and merge have of a whole `backupd run --once`; then the same
batches with Kerberos and TLS, as a ratio.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.warehouse import open_warehouse
from backupd.warehouse.hive.servers import shown
from support.daemon import Host, log_of
from support.hadoop import running_hadoop
from support.hadoop_tables import PARQUET, new_table
from support.kdc import running_kdc
from support.rows import new_batch
from support.secure_hadoop import running_secure_hadoop

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


async def _batches(section: WarehouseSection) -> float:
    """Print what batches take; return the seconds for one of the default size."""
    warehouse = open_warehouse(section)
    await _seconds(warehouse, 1)  # the first statements of a session are slow
    for rows in SIZES:
        load, merge = await _seconds(warehouse, rows)
        print(f"  {rows:>6} rows: load {load:5.2f} s, merge {merge:5.2f} s")
    began = time.monotonic()
    for _ in range(BATCHES):
        await _seconds(warehouse, SIZES[0])
    seconds = (time.monotonic() - began) / BATCHES
    print(f"  {seconds:.2f} s a batch of {SIZES[0]}, {SIZES[0] / seconds:.0f} rows a second")
    await warehouse.aclose()
    return seconds


def _pipeline(hive: HiveSection, root: Path) -> None:
    root.mkdir()
    host = Host(
        root,
        {
            "warehouse.kind": '"hive"',
            "warehouse.hive.hosts": f'["{shown(hive.hosts[0])}"]',
            "warehouse.hive.merge": f'"{hive.merge}"',
            "warehouse.hive.staging_table": f'"{hive.staging_table}"',
            "warehouse.hive.production_table": f'"{hive.production_table}"',
            "warehouse.hive.staging_url": f'"{hive.staging.url.text}"',
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


def _measure(hadoop: Hadoop, way: str) -> float:
    print(f"{type(hadoop).__name__}, merge = {way!r}")
    return asyncio.run(_batches(new_table(hadoop, WAYS[way], merge=way)))


def _plain(root: Path) -> dict[str, float]:
    """Return the seconds for a batch by each way, without Kerberos and TLS."""
    with running_hadoop(_new(root / "plain")) as hadoop:
        seconds = {way: _measure(hadoop, way) for way in WAYS}
        for way, kind in WAYS.items():
            hive = new_table(hadoop, kind, merge=way).hive
            assert hive  # noqa: S101 - a table in Hive has it
            print(f"merge = {way!r}")
            _pipeline(hive, root / way)
    return seconds


def _secured(root: Path) -> dict[str, float]:
    """The same with them."""
    with (
        running_kdc(root / "kdc") as kdc,
        running_secure_hadoop(_new(root / "secured"), kdc) as hadoop,
    ):
        return {way: _measure(hadoop, way) for way in WAYS}


def _new(directory: Path) -> Path:
    directory.mkdir()
    return directory


def main() -> None:
    """Start the servers, measure, stop them."""
    with tempfile.TemporaryDirectory() as name:
        plain, secured = _plain(Path(name)), _secured(Path(name))
    for way in WAYS:
        print(f"merge = {way!r}: secured takes {secured[way] / plain[way]:.2f} times as long")


if __name__ == "__main__":
    main()
