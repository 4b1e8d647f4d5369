"""Who may open a ledger, and which ledgers are refused. On real files, with real processes."""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from backupd.core.errors import LedgerError
from backupd.core.stages import Stage
from backupd.ledger import (
    Ledger,
    LedgerLockedError,
    LedgerReader,
    engine,
    lock,
    reports,
    schema,
    versions,
)
from support.files import COUNTED, a_file
from support.holders import another_holder
from support.ledgers import digests, files_of, filled, opened, plant
from support.older_ledgers import make_older

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ = """
import os, sys
from pathlib import Path
import sqlalchemy
from backupd.core.errors import LedgerError
from backupd.ledger import LedgerReader, reports
sqlalchemy.create_engine("sqlite://").connect().close()  # imports the rest, while it may
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    reader = LedgerReader(Path(sys.argv[1]))
    print(sum(count.files for count in reader.ask(reports.counts)))
    reader.close()
except LedgerError as error:
    print(f"refused: {error}")
"""


def read_as_nobody(path: Path) -> str:
    """What a process without any rights of ours reads: the number of files, or why it may not."""
    nobody = pwd.getpwnam("nobody").pw_uid
    command = [sys.executable, "-c", READ, str(path), str(nobody)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return str(done.stdout.strip())


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that others may enter and read, but not write: pytest's own let nobody in."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


# -- the lock ---------------------------------------------------------------------------------


async def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path) as process:
        with pytest.raises(LedgerLockedError, match=str(process.pid)) as caught:
            Ledger(path)
        assert caught.value.pid == str(process.pid)
        assert str(path) in str(caught.value)
        assert lock.holder(path) == str(process.pid)


async def test_a_killed_holder_locks_nobody_out_and_what_it_wrote_is_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path, 5) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert lock.holder(path) is None
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 5
        assert lock.holder(path) == str(os.getpid())
    assert lock.holder(path) is None


async def test_two_in_one_process_are_refused_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db"):
        with pytest.raises(LedgerLockedError, match=str(os.getpid())):
            Ledger(tmp_path / "ledger.db")
    async with opened(tmp_path / "ledger.db"):
        pass


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="nowhere"):
        Ledger(tmp_path / "nowhere" / "ledger.db")
    with pytest.raises(LedgerError, match="there is no ledger at"):
        LedgerReader(tmp_path / "nowhere" / "ledger.db")


def test_a_ledger_that_is_a_directory_is_refused_and_the_lock_given_back(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    for _ in range(2):
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger(tmp_path / "ledger.db")
    (tmp_path / "ledger.db").rmdir()
    asyncio.run(filled(tmp_path / "ledger.db", 1))


# -- migrations -------------------------------------------------------------------------------


async def test_a_new_ledger_has_this_programs_version(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (versions.VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_opening_it_again_changes_no_row(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    with sqlite3.connect(path) as connection:
        before = list(connection.iterdump())
        async with opened(path):
            pass
        assert list(connection.iterdump()) == before
    connection.close()


async def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    await filled(tmp_path / "ledger.db", 1)


async def test_a_newer_ledger_is_refused_by_writer_and_reader_and_not_touched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {versions.VERSION + 1}")
    connection.close()
    before = digests(tmp_path)
    for open_it in (Ledger, LedgerReader):
        with pytest.raises(LedgerError, match=f"schema version {versions.VERSION + 1}") as caught:
            open_it(path)
        assert "newer backupd" in caught.value.hint
    assert digests(tmp_path) == before


async def test_an_older_ledger_is_read_once_the_daemon_has_brought_it_to_this_version(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {versions.VERSION - 1}")
    connection.close()
    with pytest.raises(LedgerError, match="of an older backupd") as caught:
        LedgerReader(path)
    assert "restart it" in caught.value.hint


async def test_a_step_that_fails_leaves_the_older_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)

    half_a_step = (
        "ALTER TABLE files ADD COLUMN novelty TEXT;\nALTER TABLE nowhere ADD COLUMN novelty TEXT;\n"
    )
    monkeypatch.setattr(versions, "MIGRATIONS", (*versions.MIGRATIONS, half_a_step))
    monkeypatch.setattr(versions, "VERSION", versions.VERSION + 1)
    with pytest.raises(LedgerError, match="nowhere"):
        Ledger(path)
    monkeypatch.undo()
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 200


async def test_an_older_ledger_is_brought_to_this_programs_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)
    step = (
        "-- More room.\nCREATE TABLE novelties (id TEXT);\n\nINSERT INTO novelties VALUES ('a');\n"
    )
    monkeypatch.setattr(versions, "MIGRATIONS", (*versions.MIGRATIONS, step))
    monkeypatch.setattr(versions, "VERSION", versions.VERSION + 1)
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 200
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (versions.VERSION,)
        assert connection.execute("SELECT id FROM novelties").fetchall() == [("a",)]
    connection.close()


async def test_a_file_that_an_older_version_has_read_keeps_its_own_id_as_its_rows(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await plant(
            ledger,
            a_file(Stage.SETTLE, id="new", path="/new"),
            a_file(Stage.MERGE, id="read", path="/read", **COUNTED),
            a_file(Stage.CLEANUP, id="again", path="/again", duplicate_of="read", **COUNTED),
        )
    make_older(path, 5)
    async with opened(path) as ledger:
        found = {file.id: file.row_id for file in await files_of(ledger)}
    assert found == {"new": None, "read": "read", "again": "read"}


async def test_a_migration_tells_that_it_goes_on_and_the_work_after_it_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    await filled(path, 300)
    make_older(path, 7)
    monkeypatch.setattr(engine, "_STEPS", 1_000)
    told: list[None] = []
    ledger = Ledger(path, lambda: told.append(None))
    during = len(told)
    assert len(await files_of(ledger)) == 300
    await ledger.sign_of_life()
    await ledger.close()
    assert during >= 2
    assert len(told) == during


def test_the_steps_make_the_tables_that_the_program_speaks_of() -> None:
    assert _made_by(versions.migrate) == _made_by(schema.metadata.create_all)


def _made_by(make: Callable[[sa.Connection], None]) -> set[tuple[object, ...]]:
    """Return the columns of all tables, and the statements of all indexes."""
    with sa.create_engine("sqlite://").begin() as connection:
        make(connection)
        made: set[tuple[object, ...]] = set()
        query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        for kind, name, sql in connection.exec_driver_sql(query).all():
            if kind == "index":
                made.add((name, " ".join(sql.split())))
                continue
            columns = connection.exec_driver_sql(f"PRAGMA table_info({name})").all()
            # Their order counts too; the default of a column that came later is the step's affair.
            made.update((name, *column[:4], column[5]) for column in columns)
        return made


# -- readers ----------------------------------------------------------------------------------


async def test_a_reader_sees_what_is_committed_while_a_writer_runs(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path, 7):
        reader = LedgerReader(path)
        assert len(reader.ask(reports.select, reports.Wanted())) == 7
        reader.close()
        assert (tmp_path / "ledger.db-wal").exists()


async def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    await filled(path)

    def write(connection: sa.Connection) -> None:
        connection.execute(sa.delete(schema.files))

    reader = LedgerReader(path)
    with pytest.raises(LedgerError, match="readonly"):
        reader.ask(write)
    reader.close()


async def test_others_read_while_a_writer_runs_and_while_none_does(public: Path) -> None:
    path = public / "ledger.db"
    with another_holder(path, 7):
        assert read_as_nobody(path) == "7"
    async with opened(path):
        pass
    assert not (public / "ledger.db-wal").exists()
    assert read_as_nobody(path) == "7"
    LedgerReader(path).close()
    assert read_as_nobody(path) == "7"


async def test_others_read_after_a_kill_left_a_log_behind(public: Path) -> None:
    path = public / "ledger.db"
    with another_holder(path, 9) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (public / "ledger.db-wal").stat().st_size > 0
    before = digests(public)
    assert read_as_nobody(path) == "9"
    reader = LedgerReader(path)
    assert len(reader.ask(reports.select, reports.Wanted())) == 9
    reader.close()
    assert digests(public) == before
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 9


async def test_who_may_not_reach_the_ledger_is_told_so(public: Path) -> None:
    inner = public / "inner"
    inner.mkdir(mode=0o700)
    await filled(inner / "ledger.db", 1)
    if os.geteuid() != 0:
        inner.chmod(0)
    answer = read_as_nobody(inner / "ledger.db")
    inner.chmod(0o700)
    assert answer.startswith("refused: ")
    assert str(inner / "ledger.db") in answer
