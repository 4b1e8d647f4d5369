"""backupd-admin where the history beside the ledger cannot be reached."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from support.admin import admin
from support.stories import Maker, prepare, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes

HIVE: Changes = {
    "warehouse.kind": '"hive"',
    "warehouse.hive.host": '"127.0.0.1"',
    "warehouse.hive.auth": '"LDAP"',
    "warehouse.hive.username": '"backupd"',
    "warehouse.hive.password_file": '"TMP/not-for-you"',
    "warehouse.hive.staging_url": '"file://TMP/staging"',
}
MISTAKE: Changes = {"feeds.traffic.pattern": '""'}
LEFT_OUT = "note: files that left for the history are left out: "


async def _files(maker: Maker) -> None:
    await maker.done(await maker.seen("a_1.csv"))


def have_one_left(config: Path) -> None:
    with closing(sqlite3.connect(config.parent / "ledger.db")) as connection, connection:
        connection.execute("INSERT INTO files_left VALUES ('traffic/a', 1, 0)")


def config_with(tmp_path: Path, changes: Changes) -> Path:
    prepare(write_config(tmp_path), _files)
    return write_config(tmp_path, changes)


@pytest.mark.parametrize("changes", [HIVE, MISTAKE], ids=["secret", "mistake"])
def test_where_no_file_left_the_history_is_not_missed(tmp_path: Path, changes: Changes) -> None:
    config = config_with(tmp_path, changes)
    listed = admin(config, "list")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert "a_1.csv" in listed.stdout


@pytest.mark.parametrize("changes", [HIVE, MISTAKE], ids=["secret", "mistake"])
def test_what_is_in_the_ledger_is_listed_without_the_history(
    tmp_path: Path, changes: Changes
) -> None:
    config = config_with(tmp_path, changes)
    have_one_left(config)
    listed = admin(config, "list")
    assert listed.exit_code == 0
    assert "a_1.csv" in listed.stdout
    assert listed.stderr.startswith(f"{LEFT_OUT}1 mistake(s) in the config")


@pytest.mark.parametrize("changes", [HIVE, MISTAKE], ids=["secret", "mistake"])
@pytest.mark.parametrize("command", ["show", "prove", "requeue"])
def test_an_unknown_name_is_unknown_without_the_history_too(
    tmp_path: Path, changes: Changes, command: str
) -> None:
    config = config_with(tmp_path, changes)
    have_one_left(config)
    answer = admin(config, command, "nobody.csv")
    assert answer.exit_code == 1
    assert LEFT_OUT in answer.stderr
    assert "no file has the id, path or name nobody.csv" in answer.stderr


def test_a_directory_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"warehouse.embedded.root": f'"TMP/{"x" * 300}"'})
    prepare(config, _used)
    listed = admin(config, "list")
    assert listed.exit_code == 0
    assert "a_1.csv" in listed.stdout
    assert listed.stderr.startswith(LEFT_OUT)
    assert "File name too long" in listed.stderr


async def _used(maker: Maker) -> None:
    await _files(maker)
    await maker.ledger.remember_place("warehouse", "ab" * 16, maker.now)
