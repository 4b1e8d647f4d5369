"""backupd-admin prove and batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.records import Result
from backupd.core.stages import Stage
from support.admin import admin, asked, lines, screen
from support.stories import Maker, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import FileRecord


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


async def _done(maker: Maker) -> FileRecord:
    return await maker.done(await maker.seen("a_1.csv"))


def test_a_done_file_has_its_whole_proof(config: Path) -> None:
    file = prepare(config, _done)
    proof = asked(config, "prove", file.id)
    assert proof["proven"] is True
    assert proof["local_sha256"] == file.sha256
    assert proof["sent_sha256"] == proof["remote_sha256"] == "5e" * 32
    assert (proof["verified_by"], proof["flushed"]) == ("readback", True)
    times = [proof[name] for name in ("row_seen_at", "shipped_at", "verified_at", "cleanup_at")]
    assert times == sorted(times)
    assert proof["cleanup"] == "local copy deleted"
    assert admin(config, "prove", file.id).exit_code == 0


def test_the_hashes_fit_a_terminal_unbroken(config: Path) -> None:
    file = prepare(config, _done)
    shown = screen(config, "prove", file.id)
    assert str(file.sha256) in shown


@pytest.mark.parametrize("stage", [Stage.SETTLE, Stage.LOAD])
def test_before_the_merge_neither_receipt_nor_row_is_there(config: Path, stage: Stage) -> None:
    async def begin(maker: Maker) -> FileRecord:
        return await maker.to(await maker.seen("a_1.csv"), stage)

    answer = admin(config, "prove", prepare(config, begin).id)
    assert answer.exit_code == 1
    assert "there is no receipt" in answer.stderr
    assert "its row was not seen in the warehouse" in answer.stderr
    assert f"waiting at {stage}" in answer.stderr


def test_a_receipt_for_other_content_proves_nothing(config: Path) -> None:
    async def ship_wrongly(maker: Maker) -> FileRecord:
        file = await maker.to(await maker.seen("a_1.csv"), Stage.CLEANUP)
        return await maker.waiting(file, sha256="0" * 64)

    answer = admin(config, "prove", prepare(config, ship_wrongly).id)
    assert answer.exit_code == 1
    assert "other content" in answer.stderr


def test_an_archive_copy_of_other_bytes_proves_nothing(config: Path) -> None:
    async def ship_badly(maker: Maker) -> FileRecord:
        file = await maker.to(await maker.seen("a_1.csv"), Stage.CLEANUP)
        receipts = await maker.ledger.receipts([file.id])
        wrong = replace(receipts[file.id], remote_sha256="bad")
        running = await maker.claimed(file)
        result = Result(changes={}, detail="", receipt=wrong)
        return await maker.moved(moves.advance(running, result, maker.now))

    answer = admin(config, "prove", prepare(config, ship_badly).id)
    assert answer.exit_code == 1
    assert "what the archive holds is not what was sent" in answer.stderr


def test_a_duplicate_leans_on_the_proof_of_the_first(config: Path) -> None:
    async def twice(maker: Maker) -> list[FileRecord]:
        first = await maker.done(await maker.seen("a_1.csv"))
        return [first, await maker.to(await maker.seen("a_1.csv"), Stage.CLEANUP)]

    first, second = prepare(config, twice)
    proof = asked(config, "prove", second.id)
    assert proof["proven"] is True
    assert proof["duplicate_of"] == first.id
    assert proof["cleanup_at"] is None
    assert f"{first.id}, whose proof this is" in admin(config, "prove", second.id).stdout


# -- batch -----------------------------------------------------------------------------------------


async def _one_batch(maker: Maker) -> list[FileRecord]:
    first, second = await maker.seen("a_1.csv"), await maker.seen("a_2.csv", content=b"h\n1\n2\n")
    await maker.to(second, Stage.LOAD)
    merged = await maker.to(first, Stage.SHIP)
    return [merged, second]


@pytest.fixture
def batch_id(config: Path) -> str:
    first, _ = prepare(config, _one_batch)
    assert first.batch_id is not None
    return first.batch_id


def test_a_batch_tells_its_members_and_where_it_stands(config: Path, batch_id: str) -> None:
    batch = asked(config, "batch", batch_id)
    assert (batch["stage"], batch["status"], batch["attempts"]) == ("merge", "done", 1)
    assert batch["staged_at"] == f"/staging/{batch_id}"
    assert [member["file_name"] for member in batch["members"]] == ["a_2.csv", "a_1.csv"]
    shown = screen(config, "batch", batch_id)
    assert "2 files" in shown


def test_the_manifest_gives_the_rows_as_they_were_loaded(config: Path, batch_id: str) -> None:
    rows = lines(config, "batch", batch_id, "--manifest")
    assert [row["record_count"] for row in rows] == [2, 1]
    assert rows[0]["file_timestamp"] == "2026-11-23T12:00:00.000Z"
    assert {row["batch_id"] for row in rows} == {batch_id}
    head, *printed = admin(config, "batch", batch_id, "--manifest").stdout.splitlines()
    assert head.split("\t") == list(rows[0])
    assert [line.split("\t")[3] for line in printed] == ["a_2.csv", "a_1.csv"]


def test_the_embedded_warehouse_says_that_it_runs_no_statements(
    config: Path, batch_id: str
) -> None:
    assert admin(config, "batch", batch_id, "--sql").stdout.startswith("none: ")
    assert asked(config, "batch", batch_id, "--sql") == {"id": batch_id, "statements": []}


def test_an_unknown_batch_is_told_and_fails(config: Path) -> None:
    prepare(config, _done)
    answer = admin(config, "batch", "none")
    assert answer.exit_code == 1
    assert "there is no batch none" in answer.stderr


def test_manifest_and_sql_at_once_are_both_shown(config: Path, batch_id: str) -> None:
    manifest, sql, both = (
        admin(config, "batch", batch_id, *options).stdout
        for options in (["--manifest"], ["--sql"], ["--manifest", "--sql"])
    )
    assert both == manifest + sql
