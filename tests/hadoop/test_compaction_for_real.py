"""Compaction against a real HDFS and HiveServer2: what readers see meanwhile, and afterwards."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from collections import Counter
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from backupd.warehouse.hive import compaction
from backupd.warehouse.hive.replaced_dirs import MARKER
from backupd.worker import LedgerReplacements, LedgerStatements
from support import merging
from support.daemon import until
from support.hadoop_hosts import secured_host
from support.hadoop_tables import PARQUET, new_table, run
from support.hive_compaction import DATE, NEXT, some_batches
from support.hives import DATABASE
from support.killed_client import die_at
from support.ledgers import opened
from support.merging import assert_once, merge_again
from support.past_files import FILES, deliver, run_each
from support.rows import new_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from backupd.config.sections import WarehouseSection
    from backupd.core.rows import ProductionRow
    from backupd.ledger import Ledger
    from backupd.warehouse.hive.warehouse import HiveWarehouse
    from support.daemon import Host
    from support.hadoop import Hadoop
    from support.killed_client import Moment
    from support.secure_hadoop import SecureHadoop

pytestmark = pytest.mark.hadoop

until_merged = partial(merging.until_merged, tries=20, pause=0.2)

AFTER = "2026-11-25"
NOT_OURS = "this backupd"
# How a reader gets its rows: HiveServer2 fetches them itself, or runs a job. The job is no Tez job
# as ours are: two of those at a time in one JVM take each other's input ("Invalid input path").
BY_FETCH = ()
BY_A_JOB = ("SET hive.fetch.task.conversion=none", "SET hive.execution.engine=mr")
PAUSE = 0.5  # seconds between two queries: two cores are for all
SWITCH = "ALTER TABLE .* SET LOCATION"
STEPS: dict[str, list[tuple[str, Moment]]] = {
    "files": [
        ("CREATE EXTERNAL TABLE .* LIKE", "polled"),
        ("LOAD DATA .*compacted-", "sent"),
        ("DROP TABLE .*compaction", "sent"),
        (SWITCH, "sent"),
        (SWITCH, "polled"),
    ],
    "insert": [("INSERT .*compaction", "polled"), (SWITCH, "polled")],
}
REMOVALS: list[tuple[str, Moment]] = [
    ("LOAD DATA .* OVERWRITE", "sent"),
    ("DROP TABLE .*replaced", "polled"),
]
_spawning = multiprocessing.get_context("spawn")


class Reader:
    """Reads all of a table again and again, as anybody does; notes what it got."""

    def __init__(self, hadoop: Hadoop, table: str, settings: Sequence[str]) -> None:
        self.answers: Counter[object] = Counter()
        self._hadoop = hadoop
        self._query = f"SELECT file_id FROM {table}"
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        with (
            closing(self._hadoop.connection()) as connection,
            closing(connection.cursor()) as cursor,
        ):
            for setting in self._settings:
                cursor.execute(setting)
            while not self._stop.wait(PAUSE if self.answers else 0.0):
                try:
                    cursor.execute(self._query)
                    self.answers[tuple(sorted(cursor.fetchall()))] += 1
                except Exception as error:  # noqa: BLE001 - whatever it is, no reader may see it
                    self.answers[str(error)] += 1

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def reading(hadoop: Hadoop, table: str, rows: Sequence[ProductionRow]) -> Iterator[None]:
    """See that readers get each of these rows once meanwhile, and nothing else."""
    by_fetch, by_a_job = (Reader(hadoop, table, how) for how in (BY_FETCH, BY_A_JOB))
    with by_fetch, by_a_job:
        yield
    each_once = tuple(sorted((row.file_id,) for row in rows))
    assert list(by_fetch.answers) == list(by_a_job.answers) == [each_once]


def a_table(hadoop: Hadoop, merge: str) -> WarehouseSection:
    """A new table; readers that run jobs all the while make statements slow."""
    return new_table(hadoop, PARQUET, merge=merge, statement_timeout=180.0)


def table_of(section: WarehouseSection) -> str:
    assert section.hive
    return f"{DATABASE}.{section.hive.production_table}"


def opened_hive(section: WarehouseSection) -> HiveWarehouse:
    return open_warehouse(section)  # type: ignore[return-value]  # of the kind that it says


@pytest.mark.sample(1)
@pytest.mark.parametrize("merge", ["files", "insert"])
async def test_readers_see_each_row_once_and_work_goes_on_afterwards(
    hadoop: Hadoop, merge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = a_table(hadoop, merge)
    table, warehouse = table_of(section), opened_hive(section)
    rows = await some_batches(warehouse)
    whole = run(hadoop, f"SELECT * FROM {table} ORDER BY file_id")
    assert await warehouse.dates_to_compact(AFTER, 2) == [DATE, NEXT]

    with reading(hadoop, table, rows):
        for date in (DATE, NEXT):
            outcome = await warehouse.compact(date)
            assert (outcome.left, outcome.files_before, outcome.files_after) == ("", 3, 1)
    assert run(hadoop, f"SELECT * FROM {table} ORDER BY file_id") == whole
    assert await warehouse.dates_to_compact(AFTER, 1) == []
    msck(hadoop, table, rows)

    rows += await more_rows(warehouse, rows)
    assert (await warehouse.compact(DATE)).left == ""
    monkeypatch.setattr(compaction, "KEPT_FOR", 0.0)
    assert await warehouse.finish_compactions() == []
    assert leftovers(hadoop, table) == [MARKER]
    await assert_once(warehouse, rows)
    msck(hadoop, table, rows)
    rows += await more_rows(warehouse, rows)
    await assert_once(warehouse, rows)
    await warehouse.aclose()


async def more_rows(warehouse: HiveWarehouse, rows: Sequence[ProductionRow]) -> list[ProductionRow]:
    """Have a batch merged, and one that was merged before once more; return what is new."""
    batch, more = new_batch(4, days=2)
    await until_merged(warehouse, batch, more)
    keys = {RowKey(row.file_id, row.file_date) for row in (*rows, *more)}
    assert await warehouse.find(keys) == {key.file_id for key in keys}
    await merge_again(warehouse, rows[:4])
    return more


def msck(hadoop: Hadoop, table: str, rows: Sequence[ProductionRow]) -> None:
    """See that what people and the metastore itself do to repair a table loses no partition."""
    for how in ("", "DROP PARTITIONS", "SYNC PARTITIONS"):
        run(hadoop, f"MSCK REPAIR TABLE {table} {how}")
        found = Counter(row[0] for row in run(hadoop, f"SELECT file_id FROM {table}"))
        assert found == Counter(row.file_id for row in rows), how


def leftovers(hadoop: Hadoop, table: str) -> list[str]:
    """Return what is where the partition lay at first; no table of ours may be left."""
    assert run(hadoop, f"SHOW TABLES IN {DATABASE} LIKE 'backupd_*'") == []
    place = next(
        str(row[1]).strip()
        for row in run(hadoop, f"DESCRIBE FORMATTED {table}")
        if str(row[0]).startswith("Location")
    )
    path = "/" + place.partition("://")[2].partition("/")[2]
    return hadoop.names(f"{path}/file_date={DATE}")


@pytest.mark.sample(1)
@pytest.mark.parametrize("merge", ["files", "insert"])
async def test_what_another_daemon_brings_meanwhile_is_neither_lost_nor_doubled(
    hadoop: Hadoop, merge: str
) -> None:
    section = a_table(hadoop, merge)
    warehouse, rival = opened_hive(section), opened_hive(section)
    rows = await some_batches(warehouse)

    def bring(first_day: int) -> None:
        batch, more = new_batch(2, first_day=first_day)
        asyncio.run(until_merged(rival, batch, more))
        rows.extend(more)

    at_statement(warehouse, "DROP TABLE", partial(bring, 1))
    assert "come in just now" in (await warehouse.compact(NEXT)).left
    await assert_once(warehouse, rows)
    at_statement(warehouse, "SET LOCATION", partial(bring, 0))
    assert (await warehouse.compact(DATE)).left == ""
    await assert_once(warehouse, rows)
    for date in (DATE, NEXT):
        assert NOT_OURS in (await warehouse.compact(date)).left
    await assert_once(warehouse, rows)
    await warehouse.aclose()
    await rival.aclose()


def at_statement(warehouse: HiveWarehouse, words: str, happening: Callable[[], None]) -> None:
    """Have something happen once, right before a statement with these words is sent."""
    connection = warehouse._hive.connection
    send, waiting = connection.run, [happening]

    def run_after(statement: str, *rest: object) -> object:
        if words in statement and waiting:
            waiting.pop()()
        return send(statement, *rest)  # type: ignore[arg-type]  # whatever it takes

    connection.run = run_after  # type: ignore[method-assign, assignment]


class Known(LedgerStatements):
    """Takes all batches for this ledger's, which has none of them."""

    def known_batches(self, batch_ids: Collection[str]) -> set[str]:
        return set(batch_ids)


@asynccontextmanager
async def a_process(section: WarehouseSection, path: Path) -> AsyncIterator[HiveWarehouse]:
    """Open the warehouse with a ledger, which outlives the process."""
    async with opened(path) as ledger:
        warehouse = with_ledger(section, ledger)
        yield warehouse
        await warehouse.aclose()


def with_ledger(section: WarehouseSection, ledger: Ledger) -> HiveWarehouse:
    log, replacements = Known(ledger), LedgerReplacements(ledger)
    return open_warehouse(section, log, replacements=replacements)  # type: ignore[return-value]


@pytest.mark.sample(0)
@pytest.mark.parametrize("merge", ["files", "insert"])
async def test_whatever_step_a_daemon_is_killed_at_readers_see_each_row_once(
    hadoop: Hadoop, tmp_path: Path, merge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process has its ledger."""
    section, path = a_table(hadoop, merge), tmp_path / "ledger.db"
    table = table_of(section)
    rows: list[ProductionRow] = []
    for step in STEPS[merge]:
        async with a_process(section, path) as warehouse:
            rows += await some_batches(warehouse, 2, days=1)
        with reading(hadoop, table, rows):
            await killed(compact_until_dead, section, path, step)
            async with a_process(section, path) as warehouse:
                assert await warehouse.finish_compactions() == []
                outcome = await warehouse.compact(DATE)
                assert (outcome.left, outcome.files_after) == ("", 1), step
                await assert_once(warehouse, rows)

    for step in REMOVALS:
        with reading(hadoop, table, rows):
            await killed(remove_until_dead, section, path, step)
    monkeypatch.setattr(compaction, "KEPT_FOR", 0.0)
    async with a_process(section, path) as warehouse:
        assert await warehouse.finish_compactions() == []
        assert leftovers(hadoop, table) == [MARKER]
        await assert_once(warehouse, rows)


async def killed(
    work: Callable[..., None], section: WarehouseSection, path: Path, step: tuple[str, Moment]
) -> None:
    victim = _spawning.Process(target=work, args=(section, path, step))
    victim.start()
    await asyncio.to_thread(victim.join)
    assert victim.exitcode == -signal.SIGKILL, step
    victim.close()


def compact_until_dead(section: WarehouseSection, path: Path, step: tuple[str, Moment]) -> None:
    async def work() -> None:
        async with a_process(section, path) as warehouse:
            die_at(*step)
            await warehouse.compact(DATE)

    asyncio.run(work())


def remove_until_dead(section: WarehouseSection, path: Path, step: tuple[str, Moment]) -> None:
    async def work() -> None:
        compaction.KEPT_FOR = 0.0
        async with a_process(section, path) as warehouse:
            die_at(*step)
            await warehouse.finish_compactions()

    asyncio.run(work())


@pytest.mark.sample(1)
@pytest.mark.parametrize("merge", ["files", "insert"])
def test_a_daemon_compacts_and_goes_on_on_a_secured_cluster(
    tmp_path: Path, secure_hadoop: SecureHadoop, merge: str
) -> None:
    way = secure_hadoop.config_keys()
    host, table = secured_host(tmp_path / "host", secure_hadoop, way, merge=merge)
    run_each(host)
    with host.daemon() as daemon:
        host.start_admin("compact").wait()
        told = daemon.tells("compacted", date=DATE)
        assert (told["files"], told["rows"]) == (FILES, FILES)
        first = next(file for file in host.files() if file.file_name == "0.csv")
        assert host.admin("requeue", first.id, "--from", "merge").returncode == 0
        deliver(host, FILES)
        until(lambda: is_all_done(host), lambda: f"{host.standing()}", within=120)
        reconciled = host.admin("reconcile")
        assert (reconciled.returncode, reconciled.stdout) == (0, "")
        assert host.admin("prove", "0.csv").returncode == 0
    found = run(secure_hadoop, f"SELECT file_name FROM {DATABASE}.{table}")
    assert sorted(name for (name,) in found) == [f"{number}.csv" for number in range(FILES + 1)]


def is_all_done(host: Host) -> bool:
    return Counter(host.standing().values()) == {"cleanup done": FILES + 1}
