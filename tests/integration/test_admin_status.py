"""backupd-admin status."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from backupd.core.stages import Stage
from support.admin import admin, asked, screen
from support.stories import Maker, answering_daemon, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path


async def _some_files(maker: Maker) -> None:
    await maker.done(await maker.seen("a_1.csv"))
    await maker.to(await maker.seen("b_2.csv", feed="traffic/b"), Stage.SHIP)
    await maker.parked(await maker.seen("a_3.csv"), "its name is odd")
    await maker.outage("archive", "connection refused")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path)
    prepare(path, _some_files)
    return path


def test_files_are_counted_by_stage_and_by_feed(config: Path) -> None:
    status = asked(config, "status")
    assert status["counts"]["settle"]["parked"] == 1
    assert status["counts"]["ship"]["waiting"] == 1
    assert status["counts"]["cleanup"]["done"] == 1
    (a, b) = status["feeds"]
    assert (a["feed"], a["parked"], a["done"], a["oldest_waiting_since"]) == (
        "traffic/a",
        1,
        1,
        None,
    )
    assert (b["feed"], b["waiting"]) == ("traffic/b", 1)
    assert b["oldest_waiting_since"].startswith("2026-11-23T12:")
    assert b["oldest_waiting_seconds"] is not None


def test_what_is_down_is_told_with_its_reason_and_next_try(config: Path) -> None:
    (incident,) = asked(config, "status")["incidents"]
    assert incident["cause"] == "archive"
    assert incident["reason"] == "connection refused"
    assert incident["tries"] == 2
    assert incident["next_try_at"] > incident["since"]


def test_a_running_daemon_is_told_by_its_pid(config: Path) -> None:
    with answering_daemon(config):
        daemon = asked(config, "status")["daemon"]
        words = admin(config, "status").stdout
    assert (daemon["state"], daemon["pid"]) == ("running", os.getpid())
    assert daemon["since"].endswith("Z")
    assert f"pid {os.getpid()}" in words


def test_without_a_daemon_that_is_told_too(config: Path) -> None:
    assert asked(config, "status")["daemon"] == {"state": "not running", "pid": None, "since": None}
    assert "backupd  not running" in admin(config, "status").stdout


def test_a_process_that_holds_the_ledger_and_does_not_answer_is_named(config: Path) -> None:
    async def look(_: Maker) -> dict[str, Any]:
        return await asyncio.to_thread(asked, config, "status")

    daemon = prepare(config, look)["daemon"]
    assert (daemon["state"], daemon["pid"]) == ("not answering", os.getpid())


def test_looking_leaves_no_file_of_the_lookers_behind(config: Path) -> None:
    lock = config.parent / "ledger.db.lock"
    lock.unlink()
    admin(config, "status")
    assert not lock.exists()


def test_it_works_with_a_config_that_has_mistakes(config: Path) -> None:
    config.write_text(config.read_text() + "\nbatch.max_files = 0\n")
    answer = admin(config, "status")
    assert answer.exit_code == 0
    assert "traffic/a" in answer.stdout
    assert "1 mistake(s) in the config" in answer.stderr


def test_a_config_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    answer = admin(tmp_path / "none.toml", "status")
    assert answer.exit_code == 2
    assert "none.toml cannot be read" in answer.stderr


def test_a_missing_ledger_is_told_and_not_made(tmp_path: Path) -> None:
    answer = admin(write_config(tmp_path), "status")
    assert answer.exit_code == 1
    assert "there is no ledger" in answer.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_a_newer_ledger_is_refused(config: Path) -> None:
    with sqlite3.connect(config.parent / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    answer = admin(config, "status")
    assert answer.exit_code == 1
    assert "schema version 99" in answer.stderr


def test_the_screen_fits_a_terminal(config: Path) -> None:
    shown = screen(config, "status")
    assert "1 open incident" in shown


def test_elsewhere_it_is_plain_text_without_blanks_at_the_ends(config: Path) -> None:
    text = admin(config, "status").stdout
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
