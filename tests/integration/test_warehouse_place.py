"""The embedded warehouse's place: marked, known again, and one daemon's alone."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import WarehouseSection
from backupd.core.errors import DependencyDownError, RewindError
from backupd.core.places import MARK_FILE, mark_text, new_mark
from backupd.core.records import new_id
from backupd.core.rows import RowKey
from backupd.warehouse import open_warehouse
from support.rows import COLUMNS, NOON, new_batch
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from backupd.core.ports import Warehouse
    from backupd.core.records import Batch
    from backupd.core.rows import ProductionRow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "warehouse"


@pytest.fixture
async def begin(root: Path) -> AsyncIterator[Callable[[Memory], Warehouse]]:
    """Open the warehouse as a daemon with this memory does."""
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    opened: list[Warehouse] = []

    def begun(memory: Memory) -> Warehouse:
        opened.append(open_warehouse(section, None, memory))
        return opened[-1]

    yield begun
    for each in opened:
        await each.aclose()


async def merged(warehouse: Warehouse) -> tuple[Batch, list[ProductionRow]]:
    batch, rows = new_batch()
    await warehouse.load(batch, rows)
    await warehouse.merge(batch, rows)
    return batch, rows


def visitor(root: Path, mark: str | None) -> Warehouse:
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=root)
    return open_warehouse(section, mark=mark)


def mark_of(root: Path) -> str:
    return (root / MARK_FILE).read_text().strip()


CALLS: dict[str, Callable[[Warehouse], object]] = {
    "load": lambda warehouse: warehouse.load(*new_batch()),
    "merge": lambda warehouse: warehouse.merge(*new_batch()),
    "find": lambda warehouse: warehouse.find([RowKey("x", "2026-11-23")]),
    "rows": lambda warehouse: anext(aiter(warehouse.rows(["2026-11-23"])), None),
    "discard": lambda warehouse: warehouse.discard("0" * 20),
    "sweep": lambda warehouse: warehouse.sweep([]),
}


@pytest.mark.parametrize("call", CALLS)
async def test_the_first_use_marks_the_place_and_has_it_remembered(
    begin: Callable[[Memory], Warehouse], root: Path, call: str
) -> None:
    memory = Memory()
    with suppress(RewindError):  # a merge of nothing
        await CALLS[call](begin(memory))  # type: ignore[misc]
    assert memory.mark
    assert mark_of(root) == memory.mark
    assert (root / MARK_FILE).stat().st_mode & 0o777 == 0o644


async def test_a_mark_that_is_there_is_taken_over(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    root.mkdir()
    mark = new_mark()
    (root / MARK_FILE).write_bytes(mark_text(mark))
    memory = Memory()
    await merged(begin(memory))
    assert memory.mark == mark == mark_of(root)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("instead", ["empty", "nothing", "another", "rubbish", "link"])
async def test_a_place_without_its_mark_is_down_and_untouched_until_it_is_back(
    begin: Callable[[Memory], Warehouse], root: Path, call: str, instead: str
) -> None:
    memory = Memory()
    warehouse = begin(memory)
    _, rows = await merged(warehouse)
    mounted = root.rename(root.with_name("mounted"))
    put_instead(root, instead, mounted)
    before = sorted(root.rglob("*"))
    with pytest.raises(DependencyDownError) as caught:
        await CALLS[call](warehouse)  # type: ignore[misc]
    assert caught.value.dependency == "warehouse"
    assert caught.value.hint
    with pytest.raises(DependencyDownError):  # nor by a daemon that begins
        await CALLS[call](begin(memory))  # type: ignore[misc]
    assert sorted(root.rglob("*")) == before
    (root / MARK_FILE).unlink(missing_ok=True)
    if root.exists():
        root.rmdir()
    mounted.rename(root)
    assert await warehouse.find([RowKey(rows[0].file_id, rows[0].file_date)])


def put_instead(root: Path, what: str, mounted: Path) -> None:
    if what == "nothing":
        return
    root.mkdir()
    if what == "another":
        (root / MARK_FILE).write_bytes(mark_text(new_mark()))
    if what == "rubbish":
        (root / MARK_FILE).write_bytes(b"x" * 4096)
    if what == "link":
        (root / MARK_FILE).symlink_to(mounted / MARK_FILE)


@pytest.mark.parametrize("instead", ["empty", "nothing", "another"])
async def test_a_ledger_with_rows_marks_no_place_that_has_none_of_them(
    begin: Callable[[Memory], Warehouse], root: Path, instead: str
) -> None:
    _, rows = new_batch()
    memory = Memory(rows=rows)
    put_instead(root, instead, root)
    before = sorted(root.rglob("*"))
    with pytest.raises(DependencyDownError) as caught:
        await begin(memory).find([RowKey("x", "2026-11-23")])
    assert "--new-place" in caught.value.hint
    assert memory.mark is None
    assert sorted(root.rglob("*")) == before


async def test_a_ledger_with_rows_marks_the_place_that_has_one_of_them(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    before = visitor(root, None)  # of a version that knew no marks
    _, rows = await merged(before)
    await before.aclose()
    _, others = new_batch()
    memory = Memory(rows=[*others, rows[1]])
    assert await begin(memory).find([RowKey(rows[0].file_id, rows[0].file_date)])
    assert memory.mark == mark_of(root)


async def test_a_file_that_is_no_mark_is_never_replaced(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    root.mkdir()
    (root / MARK_FILE).write_text("notes")
    memory = Memory()
    with pytest.raises(DependencyDownError, match=MARK_FILE):
        await merged(begin(memory))
    assert (root / MARK_FILE).read_text() == "notes"
    assert memory.mark is None


async def test_a_person_may_say_that_another_place_is_meant_while_the_daemon_runs(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    memory = Memory()
    warehouse = begin(memory)
    await merged(warehouse)
    root.rename(root.with_name("old"))
    root.mkdir()
    for name in ("staging", "production"):
        (root / name).mkdir()
    mark = new_mark()
    (root / MARK_FILE).write_bytes(mark_text(mark))
    with pytest.raises(DependencyDownError):
        await merged(warehouse)
    memory.mark = mark
    await merged(warehouse)


async def test_a_second_daemon_is_refused_and_names_the_first(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    memory = Memory()
    first = begin(memory)
    await merged(first)
    alias = root.with_name("alias")
    alias.symlink_to(root)
    section = WarehouseSection(kind="embedded", columns=COLUMNS, embedded_root=alias)
    second = open_warehouse(section, None, Memory())
    with pytest.raises(DependencyDownError, match=rf"another backupd \(pid {os.getpid()}\)"):
        await merged(second)
    await first.aclose()
    await merged(second)
    await second.aclose()


async def test_the_claim_of_a_killed_daemon_is_gone(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    root.mkdir()
    found = root.stat()
    code = (
        "import time; from backupd.localfs.claims import claim; "
        f"held = claim({found.st_dev}, {found.st_ino}, 'warehouse'); print(flush=True); "
        "time.sleep(600)"
    )
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)
    try:
        await other.stdout.readline()  # type: ignore[union-attr]
        with pytest.raises(DependencyDownError, match=f"pid {other.pid}"):
            await merged(begin(Memory()))
    finally:
        other.kill()
        await other.wait()
    await merged(begin(Memory()))


async def test_rows_of_others_are_looked_for_in_files_that_the_ledger_does_not_know(
    begin: Callable[[Memory], Warehouse],
) -> None:
    lost = begin(Memory())
    _, theirs = await merged(lost)
    await lost.aclose()
    warehouse = begin(Memory())
    _, ours = await merged(warehouse)
    keys = [RowKey(row.file_id, row.file_date) for row in (*theirs, *ours)]
    assert await warehouse.find(keys, by_others=True) == {row.file_id for row in theirs}
    assert await warehouse.find(keys) == {row.file_id for row in (*theirs, *ours)}


async def test_rows_are_looked_for_where_a_ledger_may_have_forgotten_their_files(
    begin: Callable[[Memory], Warehouse],
) -> None:
    memory = Memory()
    warehouse = begin(memory)
    made = [await merged(warehouse) for _ in range(2)]
    (_, forgotten), (later, known) = sorted(made, key=lambda each: each[0].id)
    keys = [RowKey(row.file_id, row.file_date) for row in (*forgotten, *known)]
    assert await warehouse.find(keys, by_others=True) == frozenset()
    memory.since = later.id
    assert await warehouse.find(keys, by_others=True) == {row.file_id for row in forgotten}


async def test_a_file_of_another_ledger_that_cannot_be_read_holds_up_and_costs_no_attempt(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    warehouse = begin(Memory())
    _, rows = await merged(warehouse)
    theirs = root / "production" / f"file_date={rows[0].file_date}" / f"{new_id(NOON)}.parquet"
    theirs.write_bytes(b"PAR1")
    keys = [RowKey("x", rows[0].file_date)]
    with pytest.raises(DependencyDownError, match=str(theirs)) as caught:
        await warehouse.find(keys, by_others=True)
    assert "move it out" in caught.value.hint
    theirs.unlink()
    assert await warehouse.find(keys, by_others=True) == frozenset()


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a table"])
async def test_what_is_no_file_of_a_batch_and_no_table_holds_nothing_up(
    begin: Callable[[Memory], Warehouse], root: Path, content: bytes
) -> None:
    warehouse = begin(Memory())
    _, rows = await merged(warehouse)
    strange = root / "production" / f"file_date={rows[0].file_date}" / "strange.parquet"
    strange.write_bytes(content)
    assert await warehouse.find([RowKey("x", rows[0].file_date)], by_others=True) == frozenset()


async def test_a_visitor_looks_for_the_mark_and_claims_nothing(
    begin: Callable[[Memory], Warehouse], root: Path
) -> None:
    memory = Memory()
    _, rows = await merged(begin(memory))
    for mark in (memory.mark, None):
        guest = visitor(root, mark)
        assert await guest.find([RowKey(rows[0].file_id, rows[0].file_date)])
        await guest.aclose()
    stranger = visitor(root, new_mark())
    with pytest.raises(DependencyDownError, match="lacks the mark"):
        await stranger.find([RowKey(rows[0].file_id, rows[0].file_date)])
    assert not any(probe.ok for probe in await stranger.probe())
    await stranger.aclose()


@pytest.mark.parametrize(
    ("name", "call"),
    [("staging", "load"), ("staging", "sweep"), ("staging", "discard"), ("production", "find")],
)
async def test_no_link_below_the_root_is_followed(
    begin: Callable[[Memory], Warehouse], root: Path, tmp_path: Path, name: str, call: str
) -> None:
    warehouse = begin(Memory())
    await merged(warehouse)
    precious = tmp_path / "precious" / ("0" * 20)
    precious.mkdir(parents=True)
    (root / name).rename(tmp_path / "moved")
    (root / name).symlink_to(precious.parent)
    with pytest.raises(DependencyDownError) as caught:
        await CALLS[call](warehouse)  # type: ignore[misc]
    assert "link" in caught.value.hint or "stands in its way" in caught.value.hint
    assert list(precious.parent.iterdir()) == [precious]


async def test_a_batch_that_is_a_link_is_not_removed_through(
    begin: Callable[[Memory], Warehouse], root: Path, tmp_path: Path
) -> None:
    warehouse = begin(Memory())
    await merged(warehouse)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    batch, rows = new_batch()
    (root / "staging" / batch.id).symlink_to(tmp_path / "precious")
    for attempt in (warehouse.load(batch, rows), warehouse.discard(batch.id)):
        with pytest.raises(DependencyDownError):
            await attempt
    assert (tmp_path / "precious" / "file").exists()
