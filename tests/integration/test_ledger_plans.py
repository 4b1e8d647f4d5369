"""What is asked all the time looks at open files alone, however many are done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from backupd.core.incidents import Incident, Kind
from backupd.core.records import Move
from backupd.core.stages import Stage, Status
from backupd.ledger import (
    arrivals,
    batches,
    duplicates,
    engine,
    files,
    incidents,
    intake,
    places,
    renames,
    reports,
    stories,
)
from support.files import NOW, a_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FEEDS = ["traffic/eLUX", "traffic/SKYROAM"]
CLAIM = files.Claim(stage=Stage.SHIP, limit=10, now=NOW, feeds=tuple(FEEDS), each=5)
FORM = batches.FormBatch(max_files=10, now=NOW, feeds=tuple(FEEDS))
PARKED = reports.Wanted(status=Status.PARKED, limit=10)
FILE = a_file(Stage.MANIFEST)
READ = Move(
    file=FILE,
    stage=Stage.LOAD,
    status=Status.WAITING,
    changes={"row_id": "f1"},
    at=NOW,
    detail="read",
)
INCIDENT = Incident(
    id="1",
    kind=Kind.PARKED,
    cause="",
    feed=FEEDS[0],
    trouble="odd",
    reason="",
    opened_at=NOW,
)

# What is asked -> the indexes that may answer it.
ASKED: dict[str, tuple[Callable[..., Any], tuple[Any, ...], set[str]]] = {
    "claim": (files.claim, ([CLAIM],), {"files_due_by_feed"}),
    "next_due": (files.next_due, (Stage.SHIP, FEEDS), {"files_due_by_feed"}),
    "due_settle": (files.due_settle, (NOW, 10), {"files_due"}),
    "due_settle_without": (files.due_settle, (NOW, 10, FEEDS), {"files_due"}),
    "next_settle": (files.next_settle, (FEEDS,), {"files_due"}),
    "unbatched": (batches.unbatched, (10,), {"files_unbatched"}),
    "loads_at_hand": (batches.loads_at_hand, (NOW,), {"batches_open"}),
    "next_batch": (batches.next_batch, (10, 2, NOW), {"batches_open", "files_unbatched"}),
    "form_batch": (
        batches.form_batch,
        ([FORM],),
        {"files_unbatched", "files_due_by_feed", "sqlite_autoindex_batches_1"},
    ),
    "claim_batch": (
        batches.claim_batch,
        ([batches.ClaimBatch(stage=Stage.LOAD, now=NOW)],),
        {"batches_open", "sqlite_autoindex_batches_1"},
    ),
    "next_due_batch": (batches.next_due_batch, (Stage.LOAD,), {"batches_open"}),
    "previously_batched": (
        batches.previously_batched,
        (["f1", "f2"], "b1"),
        {"sqlite_autoindex_files_1", "files_row_id", "batch_members_file"},
    ),
    "known_row_ids": (files.known_row_ids, (["f1", "f2"],), {"files_row_id"}),
    "known": (intake.known, (["/a", "/b"],), {"files_local", "files_path"}),
    "late_companions": (intake.late_companions, ({"/a.cksum": "/a"},), {"files_path"}),
    "by_identity": (renames.by_identity, ([FILE.identity],), {"files_identity"}),
    "twins": (duplicates._found, ([READ],), {"files_twins", "files_row_id"}),
    "pending": (arrivals.pending, (0.0,), {"files_open"}),
    "wake_companions": (intake.wake_companions, ([("/a", NOW)],), {"files_companion"}),
    "oldest_open": (reports.oldest_open, (), {"files_open"}),
    "running": (files.running, (), {"files_open"}),
    "running_batches": (
        batches.running_batches,
        (),
        {"batches_open", "sqlite_autoindex_batch_members_1"},
    ),
    "open_batches": (batches.open_batches, (), {"batches_open"}),
    "any_unfinished": (
        files.any_unfinished,
        (FEEDS,),
        {"files_open", "files_due"},
    ),
    "counts": (reports.counts, (), {"files_open", "files_done"}),
    "not_done": (files.not_done, (), {"files_open"}),
    "mounts": (places.mounts, (), {"files_open"}),
    "parked": (reports.select, (PARKED,), {"files_open"}),
    "witnesses": (places.witnesses, (10,), {"sqlite_autoindex_receipts_1"}),
    "row_witnesses": (places.row_witnesses, (10,), {"sqlite_autoindex_files_1"}),
    "warehouse_sums": (places.warehouse_sums, (["a"],), {"sqlite_autoindex_warehouse_files_1"}),
    "receipts": (stories.receipts_of, (["a"],), {"sqlite_autoindex_receipts_1"}),
    "foldings": (stories.foldings, (NOW, 10), {"events_done", "sqlite_autoindex_files_1"}),
    "by_name": (
        reports.matching,
        ("a.csv",),
        {"sqlite_autoindex_files_1", "files_path", "files_file_name", "files_twins"},
    ),
    "done": (reports.done, (FEEDS[0], NOW, NOW), {"files_done"}),
    "last_done": (reports.last_done, (FEEDS,), {"files_done"}),
    "troubles": (
        incidents.troubles,
        (),
        {"files_trouble", "files_open", "incidents_open"},
    ),
    "standing": (
        incidents.standing,
        (),
        {"files_due_by_feed", "files_open", "incidents_open", "notices_at"},
    ),
    "last_mail": (incidents.last_mail, (), {"notices_at"}),
    "delivered_again": (
        intake.make_good,
        ([FILE],),
        {"files_trouble", "files_path"},
    ),
    **{
        f"held_up_{cause}": (
            incidents.held_up,
            (replace(INCIDENT, kind=kind, cause=cause),),
            {index},
        )
        for kind, cause, index in (
            (Kind.PARKED, "parked", "files_trouble"),
            (Kind.FEED, "feed", "files_open"),
            (Kind.DEPENDENCY, "archive", "files_due_by_feed"),
            (Kind.ARCHIVE, "archive:a", "files_due_by_feed"),
            (Kind.ROOM, "archive room", "files_trouble"),
        )
    },
    "history": (reports.history, ("a",), {"events_file", "sqlite_autoindex_receipts_1"}),
}


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[sa.Engine]:
    opened = engine.open_for_writing(tmp_path / "ledger.db", lambda: None)
    yield opened
    opened.dispose()


@pytest.mark.parametrize("name", ASKED)
def test_it_is_answered_from_an_index(writing: sa.Engine, name: str) -> None:
    ask, arguments, allowed = ASKED[name]
    statements: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:  # noqa: ANN401 - SQLAlchemy's hook
        _, _, statement, parameters, _, many = arguments
        statements.append((statement, parameters[0] if many else parameters))

    sa.event.listen(writing, "before_cursor_execute", note)
    with writing.begin() as connection:
        ask(connection, *arguments)
        asked = [item for item in statements if item[0].startswith(("SELECT", "UPDATE"))]
        assert asked
        for statement, parameters in asked:
            explained = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement, parameters)
            for line in [row[3] for row in explained]:
                if "rowid=?" in line or " files_left" in line:  # a row a feed
                    continue
                if "files" in line or "batches" in line or "receipts" in line:
                    assert any(f"INDEX {index} " in f"{line} " for index in allowed), line


def test_a_batch_is_formed_without_sorting(writing: sa.Engine) -> None:
    with writing.begin() as connection:
        query = (
            "EXPLAIN QUERY PLAN SELECT id FROM files WHERE stage = 'load' AND status = 'waiting'"
            " AND batch_id IS NULL ORDER BY stage_since LIMIT 10"
        )
        lines = [row[3] for row in connection.exec_driver_sql(query)]
    assert not any("TEMP B-TREE" in line for line in lines)
