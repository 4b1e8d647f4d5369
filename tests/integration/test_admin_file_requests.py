"""backupd-admin requeue, hold, release and dismiss, with and without a daemon."""

from __future__ import annotations

import asyncio
import re
import shlex
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.stages import ORDER, Stage
from support.admin import admin, asked, lines
from support.stories import NOON, Maker, answering_daemon, prepare, write_config

if TYPE_CHECKING:
    from backupd.core.records import FileRecord


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture(params=["with a daemon", "without one"])
def whoever(request: pytest.FixtureRequest, config: Path) -> AbstractContextManager[None]:
    """Applies the requests: a daemon that answers, or the command itself."""
    return answering_daemon(config) if request.param == "with a daemon" else nullcontext()


async def _two_parked_one_waiting(maker: Maker) -> list[FileRecord]:
    return [
        await maker.parked(await maker.seen("a_1.csv"), "odd"),
        await maker.parked(await maker.seen("b_2.csv", feed="traffic/b"), "odd"),
        await maker.seen("a_3.csv"),
    ]


def standing(config: Path) -> list[str]:
    return [f"{line['stage']} {line['status']}" for line in lines(config, "list")]


def test_a_parked_file_is_put_back_and_told_what_is_repeated(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    prepare(config, _two_parked_one_waiting)
    with whoever:
        answer = admin(config, "requeue", "a_1.csv")
        assert standing(config) == ["settle waiting", "settle parked", "settle waiting"]
    assert answer.exit_code == 0
    assert "a_1.csv: requeued from settle: it is looked at" in answer.stdout
    assert "no second row is made" in answer.stdout


def test_all_that_are_parked_can_be_taken_also_of_one_feed(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    prepare(config, _two_parked_one_waiting)
    with whoever:
        assert len(lines(config, "requeue", "--parked", "--feed", "traffic/b")) == 1
        assert standing(config)[:2] == ["settle parked", "settle waiting"]
        assert len(lines(config, "requeue", "--parked")) == 1
        assert standing(config)[:2] == ["settle waiting", "settle waiting"]


def test_a_dry_run_changes_nothing(config: Path, whoever: AbstractContextManager[None]) -> None:
    prepare(config, _two_parked_one_waiting)
    with whoever:
        answer = admin(config, "requeue", "--parked", "--dry-run")
        assert standing(config)[:2] == ["settle parked", "settle parked"]
    assert answer.stdout.count("would be requeued") == 2


def test_a_waiting_file_is_refused_with_the_reason(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    prepare(config, _two_parked_one_waiting)
    with whoever:
        answer = admin(config, "requeue", "a_3.csv", "a_1.csv")
    assert answer.exit_code == 1
    assert "a_3.csv: refused: it is waiting at settle" in answer.stderr
    assert "a_1.csv: requeued" in answer.stdout


def test_a_done_file_without_local_copy_goes_back_to_load_alone(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    async def done(maker: Maker) -> FileRecord:
        return await maker.done(await maker.seen("a_1.csv"))

    file = prepare(config, done)
    with whoever:
        refused = admin(config, "requeue", file.id, "--from", "ship")
        taken = admin(config, "requeue", file.id, "--from", "merge")
        assert standing(config) == ["load waiting"]
    assert refused.exit_code == 1
    assert "its local copy is gone" in refused.stderr
    assert taken.exit_code == 0


def test_json_has_a_line_a_file(config: Path) -> None:
    files = prepare(config, _two_parked_one_waiting)
    (line,) = lines(config, "requeue", "a_1.csv")
    assert list(line) == ["id", "path", "done", "text"]
    assert (line["id"], line["path"], line["done"]) == (files[0].id, files[0].path, True)


def test_one_name_that_is_not_known_stops_all(config: Path) -> None:
    prepare(config, _two_parked_one_waiting)
    answer = admin(config, "requeue", "a_1.csv", "none.csv")
    assert answer.exit_code == 1
    assert "none.csv" in answer.stderr
    assert "nothing was done" in answer.stderr
    assert standing(config)[0] == "settle parked"


def test_nothing_parked_is_told_and_fails(config: Path) -> None:
    async def nothing(maker: Maker) -> None:
        await maker.seen("a_1.csv")

    prepare(config, nothing)
    answer = admin(config, "requeue", "--parked", "--feed", "traffic/a")
    assert answer.exit_code == 1
    assert "no file is parked in feed traffic/a" in answer.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["a.csv", "--parked"], ["a.csv", "--feed", "x"], ["--parked", "--from", "x"]]
)
def test_confused_wishes_are_wrong_usage(config: Path, arguments: list[str]) -> None:
    assert admin(config, "requeue", *arguments).exit_code == 2


def test_a_wish_never_makes_a_ledger(config: Path) -> None:
    assert admin(config, "requeue", "--parked").exit_code == 1
    assert not (config.parent / "ledger.db").exists()


def test_many_files_go_in_several_requests(
    config: Path, whoever: AbstractContextManager[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.cli.file_requests._AT_ONCE", 2)
    monkeypatch.setattr("backupd.cli.targets._PAGE", 3)

    async def park(maker: Maker) -> None:
        for number in range(7):
            await maker.parked(await maker.seen(f"a_{number}.csv"), "odd")

    prepare(config, park)
    with whoever:
        assert len(lines(config, "requeue", "--parked")) == 7
        assert set(standing(config)) == {"settle waiting"}


def test_a_held_file_stays_until_it_is_released(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    async def shipping(maker: Maker) -> FileRecord:
        return await maker.to(await maker.seen("a_1.csv"), Stage.SHIP)

    file = prepare(config, shipping)
    with whoever:
        assert admin(config, "hold", file.id).exit_code == 0
        shown = asked(config, "show", file.id)
        assert (shown["status"], shown["why"]) == ("parked", "held by hand")
        assert f"backupd-admin release {file.id}" in shown["next"]
        assert admin(config, "release", file.id).exit_code == 0
        assert standing(config) == ["ship waiting"]


def test_what_is_not_held_is_not_released(config: Path) -> None:
    prepare(config, _two_parked_one_waiting)
    answer = admin(config, "release", "a_1.csv")
    assert answer.exit_code == 1
    assert "it is not held" in answer.stderr


def test_a_process_that_holds_the_ledger_without_answering_is_told(config: Path) -> None:
    prepare(config, _two_parked_one_waiting)

    async def request(_: Maker) -> tuple[int, str]:
        answer = await asyncio.to_thread(admin, config, "requeue", "--parked")
        return answer.exit_code, answer.stderr

    exit_code, stderr = prepare(config, request)
    assert exit_code == 1
    assert "holds the ledger, yet no daemon answers" in stderr


async def _vanished(maker: Maker) -> FileRecord:
    file = await maker.seen("a_1.csv")
    Path(file.path).unlink()
    return await maker.moved(
        moves.parked(file, "vanished before it was shipped", NOON, local=False)
    )


def test_a_dismissed_file_is_done_without_proof_and_told_so_for_ever(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    file = prepare(config, _vanished)
    with whoever:
        answer = admin(config, "dismiss", "a_1.csv", "--why", "a test\x1b[2J of ours")
        assert standing(config) == ["cleanup done"]
    assert answer.exit_code == 0
    assert "a_1.csv: dismissed by hand: a test" in answer.stdout
    assert "\x1b" not in answer.stdout
    why = r"dismissed by hand: a test\x1b[2J of ours"
    shown = asked(config, "show", file.id)
    assert (shown["reason"], shown["receipt"]) == (why, None)
    assert shown["why"] == f"{why} (closed without proof)"
    assert shown["events"][-1]["detail"] == why
    (line,) = lines(config, "list", "--status", "done")
    assert line["reason"] == why
    proof = admin(config, "prove", file.id)
    assert proof.exit_code == 1
    assert f"it was closed without one: {why}" in proof.stderr
    assert "not deleted by backupd" in proof.stdout


def test_a_dismissed_file_stays_where_it_is_and_is_not_taken_anew(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    async def parked(maker: Maker) -> FileRecord:
        return await maker.parked(await maker.seen("a_1.csv"), "odd")

    file = prepare(config, parked)
    with whoever:
        assert admin(config, "dismiss", file.id, "--why", "not wanted").exit_code == 0
    assert Path(file.path).exists()

    async def known(maker: Maker) -> bool:
        found = await maker.ledger.known([file.path])
        return found[file.path].identity == file.identity

    assert prepare(config, known)


def test_what_is_not_parked_is_not_dismissed_and_the_advice_works(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    *_, waiting = prepare(config, _two_parked_one_waiting)
    with whoever:
        refused = admin(config, "dismiss", waiting.id, "a_1.csv", "--why", "not wanted")
        assert refused.exit_code == 1
        assert f"park it first: backupd-admin hold {waiting.id}" in refused.stderr
        assert admin(config, "hold", waiting.id).exit_code == 0
        assert admin(config, "dismiss", waiting.id, "--why", "not wanted").exit_code == 0
        assert standing(config) == ["cleanup done", "settle parked", "cleanup done"]


def test_what_a_refused_requeue_of_a_vanished_file_advises_can_be_done(
    config: Path, whoever: AbstractContextManager[None]
) -> None:
    prepare(config, _vanished)
    with whoever:
        for stage in ORDER:
            refused = admin(config, "requeue", "a_1.csv", "--from", str(stage))
            assert refused.exit_code == 1
            (advice,) = re.findall(r"backupd-admin (.*)\)", refused.stderr)
            assert advice.startswith("dismiss")
        assert asked(config, "show", "a_1.csv")["next"].endswith(f"backupd-admin {advice}")
        assert admin(config, *shlex.split(advice)).exit_code == 0


@pytest.mark.parametrize("why", [[], ["--why", ""], ["--why", " \n"]])
def test_a_dismissal_says_why(config: Path, why: list[str]) -> None:
    prepare(config, _two_parked_one_waiting)
    assert admin(config, "dismiss", "a_1.csv", *why).exit_code == 2
    assert standing(config)[0] == "settle parked"


def test_a_dismissal_has_a_line_a_file_too(config: Path) -> None:
    files = prepare(config, _two_parked_one_waiting)
    found = lines(config, "dismiss", "a_1.csv", "b_2.csv", "--why", "not wanted")
    assert [(line["id"], line["done"]) for line in found] == [(f.id, True) for f in files[:2]]
    assert list(found[0]) == ["id", "path", "done", "text"]
