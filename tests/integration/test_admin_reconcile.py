"""backupd-admin reconcile, on what a real run left."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.records import Identity
from backupd.core.stages import Stage, Status
from backupd.supervisor import Supervisor
from support.admin import admin, lines
from support.fake_history import FakeHistory
from support.stories import Maker, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes


QUICK: Changes = {"intake.settle_for": '"1ms"', "batch.max_wait": '"1ms"'}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A ledger of three done files, with their rows and copies."""
    path = write_config(tmp_path, QUICK)
    for customer, name in (("a", "a_1.csv"), ("a", "a_2.csv"), ("b", "b_3.csv")):
        (tmp_path / "in" / customer / name).write_text(f"h\n{name}\n")

    async def run(maker: Maker) -> bool:
        return await Supervisor(maker.config, maker.ledger).run(once=True)

    assert prepare(path, run)
    return path


def differences(config: Path, *options: str) -> list[tuple[str, str | None]]:
    return [
        (line["difference"], line["file_name"]) for line in lines(config, "reconcile", *options)
    ]


def parquet(config: Path) -> list[Path]:
    return list((config.parent / "warehouse" / "production").rglob("*.parquet"))


def archived(config: Path, name: str) -> Path:
    return next((config.parent / "archive").rglob(f"{name}.gz"))


def test_what_a_run_left_differs_in_nothing(config: Path) -> None:
    answer = admin(config, "reconcile")
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "3 files compared, 0 differences" in answer.stderr


def test_missing_rows_are_told(config: Path) -> None:
    for file in parquet(config):
        file.unlink()
    assert [kind for kind, _ in differences(config)] == ["row-missing"] * 3
    assert admin(config, "reconcile").exit_code == 1


def test_doubled_rows_are_told(config: Path) -> None:
    file = parquet(config)[0]
    shutil.copy(file, file.with_name("copy.parquet"))
    assert {kind for kind, _ in differences(config)} == {"row-doubled"}


@pytest.mark.parametrize("place", range(16))
def test_a_flipped_bit_anywhere_in_a_file_of_rows_is_told(config: Path, place: int) -> None:
    file = parquet(config)[0]
    content = bytearray(file.read_bytes())
    content[place * len(content) // 16] ^= 1 << place % 8
    file.write_bytes(content)
    answer = admin(config, "reconcile")
    assert answer.exit_code == 1
    assert f"rows-damaged\t{file.stem}\t" in answer.stdout


def test_rows_that_cannot_be_read_hide_nothing_else(config: Path) -> None:
    parquet(config)[0].write_bytes(b"no Parquet")
    archived(config, "a_2.csv").unlink()
    told = differences(config)
    assert [kind for kind, _ in told if kind.startswith("rows")] == ["rows-damaged", "rows-unread"]
    assert ("copy-missing", "a_2.csv") in told


def test_files_of_rows_that_an_older_version_wrote_are_no_difference(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "ledger.db")) as ledger, ledger:
        ledger.execute("DELETE FROM warehouse_files")
    assert differences(config) == []


def test_rows_of_files_that_the_ledger_does_not_know_are_told(
    config: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    have_foreign_rows(config, tmp_path_factory.mktemp("other"), 1)
    assert differences(config) == [("row-unknown", None)]


def have_foreign_rows(config: Path, directory: Path, number: int) -> None:
    """Rows of files that another daemon did."""
    other = write_config(directory, QUICK)
    for each in range(number):
        (directory / "in" / "a" / f"a_9{each}.csv").write_text(f"h\nforeign {each}\n")

    async def run(maker: Maker) -> bool:
        return await Supervisor(maker.config, maker.ledger).run(once=True)

    prepare(other, run)
    for file in parquet(other):
        shutil.copy(file, parquet(config)[0].parent)


def test_the_history_is_asked_for_unknown_rows_together(
    config: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = FakeHistory()
    monkeypatch.setattr("backupd.cli.reconcile.open_past", lambda *_: past)
    monkeypatch.setattr("backupd.cli.comparing._PART", 1)
    have_foreign_rows(config, tmp_path_factory.mktemp("other"), 3)
    assert differences(config) == [("row-unknown", None)] * 3
    assert past.finds == 2, "once for its files, once for the rows"
    assert differences(config, "--feed", "traffic") == []


def test_a_missing_copy_and_one_of_other_content_are_told(config: Path) -> None:
    archived(config, "a_1.csv").unlink()
    archived(config, "a_2.csv").write_bytes(b"rotten")
    assert sorted(differences(config)) == [("copy-differs", "a_2.csv"), ("copy-missing", "a_1.csv")]


def test_a_copy_that_cannot_be_looked_at_does_not_hide_the_others(config: Path) -> None:
    odd = archived(config, "b_3.csv").parent
    moved = odd.rename(odd.with_name("moved"))
    odd.symlink_to(moved)
    archived(config, "a_2.csv").unlink()
    assert ("copy-missing", "a_2.csv") in differences(config)
    assert ("copy-unchecked", "b_3.csv") in differences(config)


def test_another_thing_in_the_place_of_a_copy_is_told(config: Path) -> None:
    odd = archived(config, "a_1.csv")
    odd.unlink()
    odd.mkdir()
    assert differences(config) == [("copy-differs", "a_1.csv")]


def test_a_deleted_file_that_is_still_there_is_told(config: Path) -> None:
    async def undelete(maker: Maker) -> None:
        file = await maker.to(await maker.seen("a_4.csv"), Stage.LOAD)
        left = replace(file, identity=Identity.of(config.parent.joinpath("in/a/a_4.csv").stat()))
        finished = moves.parked(left, "for the test", maker.now, local=False)
        await maker.moved(replace(finished, stage=Stage.CLEANUP, status=Status.DONE))

    prepare(config, undelete)
    assert differences(config) == [("local-left", "a_4.csv")]


def test_a_newer_file_in_the_place_of_a_deleted_one_is_no_difference(config: Path) -> None:
    (config.parent / "in" / "a" / "a_1.csv").write_text("h\nnewer\n")
    assert differences(config) == []


@pytest.mark.parametrize(
    ("options", "compared"),
    [(["--feed", "traffic/b"], 1), (["--since", "1h"], 3), (["--since", "2099-01-01"], 0)],
)
def test_feed_and_since_choose_what_is_compared(
    config: Path, options: list[str], compared: int
) -> None:
    noun = "file" if compared == 1 else "files"
    assert f"{compared} {noun} compared" in admin(config, "reconcile", *options).stderr


def test_pages_do_not_tell_a_row_twice(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupd.cli.targets._PAGE", 1)
    file = parquet(config)[0]
    shutil.copy(file, file.with_name("copy.parquet"))
    told = differences(config)
    assert len(told) == len(set(told))


def test_a_warehouse_that_is_down_ends_it_with_a_reason(config: Path) -> None:
    shutil.rmtree(config.parent / "warehouse")
    (config.parent / "warehouse").write_text("not a directory")
    answer = admin(config, "reconcile")
    assert answer.exit_code == 1
    assert "error: the warehouse at" in answer.stderr


def test_without_progress_where_no_terminal_is(config: Path) -> None:
    answer = admin(config, "reconcile")
    assert "\x1b" not in answer.stderr
    assert answer.stderr.count("\n") == 1
