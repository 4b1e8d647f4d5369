"""backupd-admin list and show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backupd.core.rows import Statement
from backupd.core.stages import Stage
from support.admin import admin, asked, lines, screen
from support.stories import NOON, Maker, answering_daemon, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import FileRecord

KEYS = [
    "id",
    "file_id",
    "path",
    "file_name",
    "feed",
    "file_type",
    "customer",
    "stage",
    "status",
    "reason",
    "attempts",
    "next_attempt_at",
    "batch_id",
    "size_bytes",
    "record_count",
    "sha256",
    "file_date",
    "first_seen_at",
    "done_at",
]


async def _files(maker: Maker) -> list[FileRecord]:
    return [
        await maker.done(await maker.seen("a_1.csv")),
        await maker.to(await maker.seen("b_2.csv", feed="traffic/b"), Stage.SHIP),
        await maker.parked(await maker.seen("a_3.csv"), "its name is odd"),
        await maker.seen("a_4.csv"),
    ]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def files(config: Path) -> list[FileRecord]:
    return prepare(config, _files)


def names(config: Path, *options: str) -> list[str]:
    return [line["file_name"] for line in lines(config, "list", *options)]


# -- list ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["a_1.csv", "b_2.csv", "a_3.csv", "a_4.csv"]),
        (["--stage", "settle"], ["a_3.csv", "a_4.csv"]),
        (["--status", "parked"], ["a_3.csv"]),
        (["--status", "done"], ["a_1.csv"]),
        (["--feed", "traffic/b"], ["b_2.csv"]),
        (["--feed", "traffic"], ["a_1.csv", "b_2.csv", "a_3.csv", "a_4.csv"]),
        (["--customer", "a"], ["a_1.csv", "a_3.csv", "a_4.csv"]),
        (["--customer", "a", "--status", "waiting"], ["a_4.csv"]),
        (["--since", "2026-11-23"], ["a_1.csv", "b_2.csv", "a_3.csv", "a_4.csv"]),
        (["--limit", "2"], ["a_3.csv", "a_4.csv"]),
        (["--limit", "2", "--customer", "a"], ["a_3.csv", "a_4.csv"]),
        (["--limit", "9"], ["a_1.csv", "b_2.csv", "a_3.csv", "a_4.csv"]),
    ],
)
@pytest.mark.usefixtures("files")
def test_filters_choose_and_limit_takes_the_newest(
    config: Path, options: list[str], expected: list[str]
) -> None:
    assert names(config, *options) == expected


def test_since_takes_what_was_first_seen_at_that_very_time_too(
    config: Path, files: list[FileRecord]
) -> None:
    since = next(
        line["first_seen_at"] for line in lines(config, "list") if line["id"] == files[2].id
    )
    assert names(config, "--since", since) == ["a_3.csv", "a_4.csv"]


@pytest.mark.usefixtures("files")
def test_nothing_that_matches_is_told_and_fails(config: Path) -> None:
    answer = admin(config, "list", "--feed", "tolling")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "no file matches" in answer.stderr


@pytest.mark.parametrize("option", [["--stage", "x"], ["--since", "x"], ["--limit", "0"]])
def test_values_that_cannot_be_are_wrong_usage(config: Path, option: list[str]) -> None:
    assert admin(config, "list", *option).exit_code == 2


@pytest.mark.usefixtures("files")
def test_json_has_the_keys_that_scripts_rely_on(config: Path) -> None:
    done, shipping, parked, _ = lines(config, "list")
    assert list(done) == KEYS
    assert done["done_at"] > done["first_seen_at"]
    assert (done["next_attempt_at"], parked["next_attempt_at"]) == (None, None)
    assert shipping["next_attempt_at"].startswith("2026-11-23T12:00:")
    assert (shipping["record_count"], shipping["file_date"]) == (1, "2026-11-23")


@pytest.mark.usefixtures("files")
def test_elsewhere_than_on_a_terminal_a_file_is_a_line_of_tabs(
    config: Path, files: list[FileRecord]
) -> None:
    printed = admin(config, "list", "--status", "parked").stdout
    parked = files[2]
    assert printed.splitlines() == [
        f"{parked.id}\tsettle\tparked\ttraffic/a\t{parked.path}\tits name is odd"
    ]


def test_names_are_json_text_as_they_are_and_escaped_where_they_cannot_be(config: Path) -> None:
    async def odd(maker: Maker) -> None:
        await maker.seen("a_ünï \n;$(x).csv")
        await maker.seen("a_\udcff.csv")

    prepare(config, odd)
    assert names(config) == ["a_ünï \n;$(x).csv", r"a_\xff.csv"]
    printed = admin(config, "list").stdout.splitlines()
    assert len(printed) == 2
    assert r"a_ünï \n;$(x).csv" in printed[0]


def test_a_file_name_is_no_markup_and_folds_on_a_narrow_screen(config: Path) -> None:
    long = f"a_[bold]{'x' * 60}.csv"

    async def see(maker: Maker) -> FileRecord:
        return await maker.parked(await maker.seen(long), "a reason " * 30)

    file = prepare(config, see)
    shown = screen(config, "list")
    assert file.id in shown
    assert "[bold]" in shown


def test_many_files_are_read_page_by_page_and_each_once(config: Path) -> None:
    async def see(maker: Maker) -> None:
        for number in range(2):
            await maker.seen(f"a_{number}.csv")

    prepare(config, see)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backupd.cli.targets._PAGE", 1)
        assert names(config) == ["a_0.csv", "a_1.csv"]


# -- show ------------------------------------------------------------------------------------------


def test_show_gives_all_that_list_gives_with_receipt_and_events(
    config: Path, files: list[FileRecord]
) -> None:
    shown = asked(config, "show", files[0].id)
    assert list(shown)[: len(KEYS)] == KEYS
    assert shown["receipt"]["verified_by"] == "readback"
    assert shown["receipt"]["named_by"] == "link"
    assert shown["receipt"]["shipped_at"].endswith("Z")
    assert shown["events"][0]["detail"] == "first seen"
    assert list(shown["events"][-1]) == ["at", "stage", "status", "detail"]
    assert (shown["events"][-1]["stage"], shown["events"][-1]["status"]) == ("cleanup", "done")


@pytest.mark.usefixtures("files")
def test_a_file_is_named_by_its_path_its_name_or_its_id(
    config: Path, files: list[FileRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent / "in")
    for named in (files[2].id, files[2].path, "a_3.csv", "./a/a_3.csv"):
        assert asked(config, "show", named)["id"] == files[2].id


def test_a_name_that_several_paths_have_lists_the_candidates(config: Path) -> None:
    config = write_config(config.parent, {"feeds.traffic.pattern": '"*.csv"'})

    async def see(maker: Maker) -> list[FileRecord]:
        return [await maker.seen("1.csv"), await maker.seen("1.csv", feed="traffic/b")]

    files = prepare(config, see)
    answer = admin(config, "show", "1.csv")
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "2 files are named 1.csv" in answer.stderr
    assert all(file.id in answer.stderr and file.path in answer.stderr for file in files)


def test_of_several_files_that_came_to_one_path_the_last_is_meant(config: Path) -> None:
    async def deliver_twice(maker: Maker) -> list[FileRecord]:
        first = await maker.done(await maker.seen("a_1.csv"))
        return [first, await maker.seen("a_1.csv", content=b"h\nother\n")]

    first, second = prepare(config, deliver_twice)
    shown = asked(config, "show", "a_1.csv")
    assert shown["id"] == second.id
    assert shown["same_path"] == [first.id]


def test_an_unknown_file_is_told_and_fails(config: Path, files: list[FileRecord]) -> None:
    answer = admin(config, "show", f"{files[0].id}x")
    assert answer.exit_code == 1
    assert "no file has the id, path or name" in answer.stderr


def test_show_says_why_and_what_next_while_the_daemon_runs(
    config: Path, files: list[FileRecord]
) -> None:
    with answering_daemon(config):
        shown = asked(config, "show", files[1].id)
    assert shown["why"] == "it waits for its turn in ship"
    assert shown["next"].startswith("it is sent to the archive")


def test_show_tells_the_outage_that_a_file_waits_for(config: Path) -> None:
    async def outage(maker: Maker) -> FileRecord:
        file = await maker.to(await maker.seen("a_1.csv"), Stage.SHIP)
        await maker.outage("archive", "connection refused")
        return file

    file = prepare(config, outage)
    with answering_daemon(config):
        shown = asked(config, "show", file.id)
    assert "connection refused" in shown["why"]
    assert shown["next_at"].endswith("Z")


def test_show_tells_the_batch_that_a_file_waits_for(config: Path) -> None:
    async def load(maker: Maker) -> FileRecord:
        return await maker.to(await maker.seen("a_1.csv"), Stage.LOAD)

    shown = asked(config, "show", prepare(config, load).id)
    assert shown["why"].startswith("it waits for a batch of 500 files, or until 2026-11-23T12:00:")


def test_show_tells_the_statement_that_a_batch_came_to(config: Path) -> None:
    text = "INSERT INTO TABLE `mnaas`.`t` PARTITION (`file_date`) SELECT 1"

    async def at_insert(maker: Maker) -> FileRecord:
        file = await maker.to(await maker.seen("a_8.csv"), Stage.MERGE)
        assert file.batch_id
        begun = Statement(batch_id=file.batch_id, text=text, began_at=NOON, session="s")
        await maker.ledger.write_statement(begun)
        return file

    file = prepare(config, at_insert)
    shown = asked(config, "show", file.id)
    assert shown["statement"] == text
    assert "its batch came to INSERT INTO, begun 2026-11-23T12:00:00Z" in shown["why"]
    assert "statement" in screen(config, "show", file.id)


def test_a_duplicate_shows_the_receipt_of_the_first(config: Path) -> None:
    async def twice(maker: Maker) -> list[FileRecord]:
        first = await maker.done(await maker.seen("a_1.csv"))
        return [first, await maker.to(await maker.seen("a_1.csv"), Stage.CLEANUP)]

    first, second = prepare(config, twice)
    shown = asked(config, "show", second.id)
    assert shown["duplicate_of"] == shown["receipt"]["file_id"] == first.id


def test_the_timeline_has_the_time_that_each_step_took(
    config: Path, files: list[FileRecord]
) -> None:
    shown = screen(config, "show", files[0].id)
    timeline = shown.partition("Timeline")[2]
    assert "first seen" in timeline
    assert "1.0 s" in timeline
    assert files[0].sha256 is not None
    assert files[0].sha256 in shown


def test_each_line_of_json_is_one_whole_object(config: Path, files: list[FileRecord]) -> None:
    printed = admin(config, "list", "--json").stdout_bytes.splitlines()
    assert [json.loads(line)["id"] for line in printed] == [file.id for file in files]


LINE_ENDS = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e\r"  # where str.splitlines ends a line too


@pytest.mark.parametrize("end", LINE_ENDS, ids=lambda end: f"{ord(end):#x}")
def test_no_name_and_no_reason_splits_a_line_of_json(config: Path, end: str) -> None:
    name = f"a_1{end}.csv"

    async def story(maker: Maker) -> None:
        await maker.parked(await maker.seen(name), f"about {name}")
        await maker.seen("a_2.csv")

    prepare(config, story)
    for words in (["list"], ["show", name], ["incidents"], ["status"]):
        text = admin(config, *words, "--json").stdout
        assert text.splitlines() == text.split("\n")[:-1]
    listed = {line["file_name"]: line["reason"] for line in lines(config, "list")}
    assert listed == {name: f"about {name}", "a_2.csv": "seen just now"}


@pytest.mark.parametrize("at", [2.0**40, 2.0**62, -(2.0**62)])
def test_a_file_of_no_date_is_shown_like_any_other(config: Path, at: float) -> None:
    """Earlier versions have taken such times for the file's."""

    async def story(maker: Maker) -> FileRecord:
        file = await maker.to(await maker.seen("a_1.csv"), Stage.LOAD)
        await maker.seen("a_2.csv")
        return await maker.waiting(file, file_timestamp=at, row_seen_at=NOON)

    file = prepare(config, story)
    assert len(lines(config, "list")) == 2
    assert asked(config, "show", file.id)["file_date"] is None
    for words in (["list"], ["show", file.id], ["status"], ["incidents"]):
        assert admin(config, *words).exit_code == 0
