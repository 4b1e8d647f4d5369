"""Compaction of the embedded warehouse: one file a date, whoever reads or writes meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from backupd.config.sections import WarehouseSection
from backupd.core.errors import DependencyDownError, RewindError
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.localfs import syscalls
from backupd.warehouse import parquet
from backupd.warehouse.embedded import compaction
from backupd.warehouse.embedded import warehouse as embedded
from support.rows import COLUMNS, NOON, batch_of, new_batch, production_row
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow
    from backupd.warehouse.embedded.warehouse import EmbeddedWarehouse

DATE = "2026-11-23"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
async def warehouse(root: Path, memory: Memory) -> AsyncIterator[EmbeddedWarehouse]:
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    opened = embedded.EmbeddedWarehouse(section, memory)
    yield opened
    await opened.aclose()


async def merged(
    warehouse: EmbeddedWarehouse, count: int = 3, days: int = 1
) -> tuple[Batch, list[ProductionRow]]:
    batch, rows = new_batch(count, days=days)
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    return batch, rows


async def of_batches(warehouse: EmbeddedWarehouse, count: int) -> list[str]:
    """Merge so many batches; return the ids of their rows, in the order of the batches."""
    batches = [await merged(warehouse) for _ in range(count)]
    batches.sort(key=lambda each: each[0].id)
    return [row.file_id for _, rows in batches for row in rows]


def partition(root: Path, date: str = DATE) -> Path:
    return root / "production" / f"file_date={date}"


def ids_read(root: Path) -> list[str]:
    """What another reader finds."""
    ids: list[str] = pq.read_table(partition(root), columns=["file_id"])["file_id"].to_pylist()
    return ids


def ids_opened(root: Path) -> list[str]:
    """What a reader finds that opens whatever it has listed.

    pyarrow's datasets look at each name in between, and pass over those that are gone by then.
    """
    ids: list[str] = []
    for path in sorted(partition(root).iterdir()):
        with pq.ParquetFile(path) as file:
            ids += file.read(["file_id"])["file_id"].to_pylist()
    return ids


async def ids_seen(warehouse: EmbeddedWarehouse) -> Counter[str]:
    return Counter([key.file_id async for key in warehouse.rows([DATE])])


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


async def test_the_rows_of_many_files_are_in_one_in_their_order(
    warehouse: EmbeddedWarehouse, root: Path, memory: Memory
) -> None:
    ids = await of_batches(warehouse, 4)
    names = sorted(path.name for path in partition(root).iterdir())
    rows = pq.read_table([partition(root) / name for name in names], partitioning=None)

    outcome = await warehouse.compact(DATE)

    (made,) = partition(root).iterdir()
    assert (outcome.files_before, outcome.files_after, outcome.left) == (4, 1, "")
    assert (outcome.rows, outcome.size_bytes) == (12, made.stat().st_size)
    assert ids_read(root) == ids
    with pq.ParquetFile(made) as file:
        assert file.read().equals(rows, check_metadata=True)
    assert await warehouse.file_sums(DATE) == memory.sums


async def test_many_rows_go_through_a_few_at_a_time(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 4)
    for count in (1, 9, 2, 4):
        await merged(warehouse, count)
    before = [pq.ParquetFile(path).read() for path in sorted(partition(root).iterdir())]

    await warehouse.compact(DATE)

    (made,) = partition(root).iterdir()
    with pq.ParquetFile(made) as file:
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        assert max(groups) < 8
        assert file.read().to_pylist() == [row for each in before for row in each.to_pylist()]


async def test_dates_with_several_files_are_named_and_none_from_a_date_on(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    for _ in range(2):
        await merged(warehouse, 3, days=3)
    (root / "production" / "file_date=2026-11-21").mkdir()
    (root / "production" / "notes").mkdir()
    assert await warehouse.dates_to_compact("2026-11-25") == [DATE, "2026-11-24"]
    await warehouse.compact(DATE)
    assert await warehouse.dates_to_compact("2026-11-26") == ["2026-11-24", "2026-11-25"]


async def test_a_date_with_one_file_stays_as_it_is(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    await of_batches(warehouse, 2)
    await warehouse.compact(DATE)
    before = tree(root)
    outcome = await warehouse.compact(DATE)
    assert (outcome.files_before, outcome.files_after, outcome.left) == (1, 1, "")
    assert tree(root) == before


async def test_what_is_not_a_date_is_refused(warehouse: EmbeddedWarehouse) -> None:
    with pytest.raises(ValueError, match="not a date"):
        await warehouse.compact("../staging")


async def test_the_new_file_is_for_the_same_readers(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    await of_batches(warehouse, 2)
    partition(root).chmod(0o2750)
    for path in partition(root).iterdir():
        path.chmod(0o640)
    await warehouse.compact(DATE)
    (made,) = partition(root).iterdir()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (partition(root), made)]
    assert modes == [0o2750, 0o640]


# -- what is not ours ----------------------------------------------------------------------------


def a_strange_file(some: Path, _: Memory) -> str:
    shutil.copy(some, some.with_name("copy.parquet"))
    return "copy.parquet is not a file that backupd makes"


def a_file_with_no_rows(some: Path, _: Memory) -> str:
    some.with_name("_SUCCESS").touch()
    return "_SUCCESS is not a file that backupd makes"


def a_link(some: Path, _: Memory) -> str:
    name = f"{new_id(NOON)}.parquet"
    some.with_name(name).symlink_to(some)
    return f"{name} is not a file that backupd makes"


def a_directory(some: Path, _: Memory) -> str:
    name = f"{new_id(NOON)}.parquet"
    some.with_name(name).mkdir()
    return f"{name} is not a file that backupd makes"


def an_unknown_file(some: Path, memory: Memory) -> str:
    memory.forget_files([f"file_date={DATE}/{some.name}"])
    return f"{some.name} is not known to the ledger"


def a_flipped_bit(some: Path, _: Memory) -> str:
    content = bytearray(some.read_bytes())
    content[len(content) // 2] ^= 1
    some.write_bytes(content)
    return f"{some.name} is not as it was written"


def no_parquet(some: Path, memory: Memory) -> str:
    some.write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    memory.remember_files({f"file_date={DATE}/{some.name}": empty})
    return "cannot be read as Parquet"


@pytest.mark.parametrize(
    "odd",
    [
        a_strange_file,
        a_file_with_no_rows,
        a_link,
        a_directory,
        an_unknown_file,
        a_flipped_bit,
        no_parquet,
    ],
)
async def test_a_date_with_anything_that_is_not_ours_is_left_alone(
    warehouse: EmbeddedWarehouse, root: Path, memory: Memory, odd: Callable[[Path, Memory], str]
) -> None:
    await of_batches(warehouse, 3)
    why = odd(max(partition(root).iterdir()), memory)
    before = tree(partition(root))
    outcome = await warehouse.compact(DATE)
    assert why in outcome.left
    assert outcome.files_after == outcome.files_before == len(before)
    assert tree(partition(root)) == before
    assert list((root / "replaced").glob("*")) == []


async def test_files_with_other_columns_stay_apart(
    warehouse: EmbeddedWarehouse, root: Path, memory: Memory
) -> None:
    await of_batches(warehouse, 2)
    columns = COLUMNS | {"customer": "client"}
    section = WarehouseSection(kind="embedded", columns=columns, embedded_root=root)
    await warehouse.aclose()
    renamed = embedded.EmbeddedWarehouse(section, memory)
    await merged(renamed)
    outcome = await renamed.compact(DATE)
    assert "has other columns than" in outcome.left
    assert len(list(partition(root).iterdir())) == 3
    await renamed.aclose()


async def test_a_link_in_place_of_a_partition_is_left_alone(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    await of_batches(warehouse, 2)
    partition(root).rename(root / "elsewhere")
    partition(root).symlink_to(root / "elsewhere")
    assert await warehouse.dates_to_compact("2026-11-24") == [DATE]
    assert (await warehouse.compact(DATE)).left == "it is not a directory"


async def test_a_partition_of_another_user_is_left_alone(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await of_batches(warehouse, 2)
    monkeypatch.setattr(os, "geteuid", lambda: partition(root).stat().st_uid + 1)
    assert "belongs to user" in (await warehouse.compact(DATE)).left


async def test_where_directories_cannot_change_places_all_stays(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    ids = await of_batches(warehouse, 2)
    monkeypatch.setattr(syscalls, "exchange", refuse)
    outcome = await warehouse.compact(DATE)
    assert "cannot let two directories change places" in outcome.left
    assert sorted(ids_read(root)) == sorted(ids)
    assert list((root / "replaced").iterdir()) == []


async def test_a_full_disk_leaves_all_as_it_was(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if "compacted-" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    await of_batches(warehouse, 2)
    before = tree(partition(root))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DependencyDownError, match="No space left"):
        await warehouse.compact(DATE)
    assert tree(partition(root)) == before
    assert list((root / "replaced").iterdir()) == []


# -- batches, before and after -------------------------------------------------------------------


@pytest.mark.parametrize(
    "steps", [["merge"], ["load", "merge"], ["load", "load", "merge", "merge"]], ids=" ".join
)
async def test_a_batch_that_was_compacted_never_makes_its_rows_again(
    warehouse: EmbeddedWarehouse, root: Path, steps: list[str]
) -> None:
    batch, rows = await merged(warehouse)
    others = await of_batches(warehouse, 2)
    await warehouse.compact(DATE)
    for step in steps:
        answer = await (warehouse.load if step == "load" else warehouse.merge)(batch, rows)
    assert answer == Counter(row.file_id for row in rows)
    assert await ids_seen(warehouse) == Counter([*others, *(row.file_id for row in rows)])
    assert len(list(partition(root).iterdir())) == 1
    assert list((root / "staging").iterdir()) == []


async def test_of_a_batch_only_the_rows_that_are_lacking_are_made(
    warehouse: EmbeddedWarehouse,
) -> None:
    batch, rows = await merged(warehouse)
    await merged(warehouse)
    await warehouse.compact(DATE)
    more = [*rows, production_row(batch.id, name="late.csv")]
    await warehouse.load(batch_of(more), more)
    assert await warehouse.merge(batch_of(more), more) == Counter(row.file_id for row in more)
    seen = await ids_seen(warehouse)
    assert {seen[row.file_id] for row in more} == {1}
    assert seen.total() == 7


async def test_what_was_staged_before_its_rows_were_compacted_is_staged_again(
    warehouse: EmbeddedWarehouse, root: Path, tmp_path: Path
) -> None:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    shutil.copytree(root / "staging" / batch.id, tmp_path / "staged")
    await warehouse.merge(batch, rows)
    await merged(warehouse)
    await warehouse.compact(DATE)
    more = [*rows, production_row(batch.id, name="late.csv")]
    shutil.copytree(tmp_path / "staged", root / "staging" / batch.id)
    with pytest.raises(RewindError):
        await warehouse.merge(batch_of(more), more)
    await warehouse.load(batch_of(more), more)
    assert await warehouse.merge(batch_of(more), more) == Counter(row.file_id for row in more)


async def test_a_late_batch_stands_beside_and_is_compacted_the_next_time(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    ids = await of_batches(warehouse, 2)
    await warehouse.compact(DATE)
    late, rows = await merged(warehouse)
    assert sum(path.name == f"{late.id}.parquet" for path in partition(root).iterdir()) == 1
    outcome = await warehouse.compact(DATE)
    assert (outcome.files_before, outcome.rows) == (2, 9)
    assert ids_read(root) == [*ids, *(row.file_id for row in rows)]


async def test_rows_are_found_after_compaction(warehouse: EmbeddedWarehouse) -> None:
    batch, rows = await merged(warehouse)
    await merged(warehouse)
    await warehouse.compact(DATE)
    keys = [RowKey(row.file_id, DATE, batch.id) for row in rows]
    assert await warehouse.find(keys) == {row.file_id for row in rows}


# -- meanwhile -----------------------------------------------------------------------------------


async def test_batches_that_come_in_meanwhile_are_neither_lost_nor_doubled(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_TURN", 0.0)  # a batch may come in between any two steps
    monkeypatch.setattr(compaction, "_TRIES", 100)
    ids = await of_batches(warehouse, 20)
    work = asyncio.create_task(warehouse.compact(DATE))
    for _ in range(3):
        ids += [row.file_id for row in (await merged(warehouse))[1]]
        assert await ids_seen(warehouse) == Counter(ids)
    outcome = await work
    assert outcome.left == ""
    assert await ids_seen(warehouse) == Counter(ids)
    assert Counter(ids_read(root)) == Counter(ids)


async def test_a_date_that_is_never_quiet_is_left_for_later(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = compaction._size_and_sum

    def busy(*arguments: object) -> tuple[int, str]:
        batch, rows = new_batch()
        warehouse._load(batch.id, rows)
        warehouse._merge(batch.id, rows)
        return real(*arguments)  # type: ignore[arg-type]

    await of_batches(warehouse, 2)
    monkeypatch.setattr(compaction, "_size_and_sum", busy)
    monkeypatch.setattr(syscalls, "exchange", lambda *_: pytest.fail("readers saw it come and go"))
    outcome = await warehouse.compact(DATE)
    assert outcome.left.startswith("batches of this date come in all the time")
    assert len(ids_read(root)) == 6 + 3 * compaction._TRIES


async def test_what_somebody_writes_at_the_last_moment_stays_in_the_table(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = syscalls.exchange, list[object]()

    def late(*arguments: object) -> None:
        if not calls:
            (partition(root) / "late.parquet").write_bytes(b"theirs")
        calls.append(arguments)
        real(*arguments)  # type: ignore[arg-type]

    ids = await of_batches(warehouse, 2)
    monkeypatch.setattr(syscalls, "exchange", late)
    outcome = await warehouse.compact(DATE)
    assert outcome.left == "late.parquet is not a file that backupd makes"
    assert len(calls) == 2
    theirs = partition(root) / "late.parquet"
    assert theirs.read_bytes() == b"theirs"
    theirs.unlink()
    assert sorted(ids_read(root)) == sorted(ids)


async def test_a_reader_sees_each_row_once_or_is_told(
    warehouse: EmbeddedWarehouse, root: Path
) -> None:
    seen: list[int] = []
    missed: list[OSError] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(len(set(ids_opened(root))))
            except FileNotFoundError as error:
                missed.append(error)

    ids = await of_batches(warehouse, 10)
    reader = asyncio.create_task(asyncio.to_thread(read))
    for _ in range(10):
        assert (await warehouse.compact(DATE)).left == ""
        ids += await of_batches(warehouse, 2)
    done.set()
    await reader
    assert seen == sorted(seen)
    assert set(seen) <= {30 + 3 * n for n in range(21)}
    assert len(missed) <= 10


async def test_our_own_readers_come_to_the_end_of_what_they_began(
    warehouse: EmbeddedWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_AT_ONCE", 1)
    ids = await of_batches(warehouse, 5)
    reading = warehouse.rows([DATE])
    seen = [(await anext(reading)).file_id]
    assert (await warehouse.compact(DATE)).left == ""
    seen += [key.file_id async for key in reading]
    assert sorted(seen) == sorted(ids)


async def test_a_compaction_that_is_given_up_changes_nothing(
    warehouse: EmbeddedWarehouse, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "_TURN", 0.0)
    await of_batches(warehouse, 5)
    before = tree(partition(root))
    work = asyncio.create_task(warehouse.compact(DATE))
    while not list(root.glob("replaced/*/*/compacted-*")):
        await warehouse.dates_to_compact(DATE)  # by the same thread: it takes a step meanwhile
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await warehouse.sweep([]) == []  # and what was being written is removed by then
    assert tree(partition(root)) == before
    assert list((root / "replaced").iterdir()) == []


# -- what was replaced ---------------------------------------------------------------------------


async def test_what_was_replaced_stays_for_a_day(warehouse: EmbeddedWarehouse, root: Path) -> None:
    await of_batches(warehouse, 2)
    before = tree(partition(root))
    await warehouse.compact(DATE)
    assert await warehouse.sweep([]) == []
    (replaced,) = (root / "replaced").iterdir()
    assert tree(replaced / partition(root).name) == before
    old = replaced.with_name(new_id(NOON))
    replaced.rename(old)
    (root / "replaced" / "notes").mkdir()
    assert await warehouse.sweep([]) == [str(old)]
    assert [path.name for path in (root / "replaced").iterdir()] == ["notes"]
