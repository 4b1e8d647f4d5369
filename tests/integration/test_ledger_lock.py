"""One process a ledger, by whatever path it comes there. On real files, with real processes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from backupd.core.errors import LedgerError
from backupd.ledger import Ledger, LedgerLockedError, LedgerReader, lock, reports
from support.admin import admin, asked
from support.files import a_sighting
from support.holders import another_holder
from support.ledgers import files_of, filled, opened
from support.stories import write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ASK = """
import os, signal, sys
from pathlib import Path
from backupd.ledger import lock
fcntl_of = lock.fcntl.fcntl
def stop_after(*arguments):
    answer = fcntl_of(*arguments)
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    return answer
lock.fcntl.fcntl = stop_after
lock.holder(Path(sys.argv[1]))
"""

ONCE = """
import sys
from pathlib import Path
from backupd.ledger import lock
print(lock.holder(Path(sys.argv[1])))
"""


def beside(path: Path) -> Path:
    """The place of another way to the ledger."""
    (path.parent / "elsewhere").mkdir()
    return path.parent / "elsewhere" / "other.db"


def linked(path: Path) -> Path:
    way = beside(path)
    way.symlink_to(path)
    return way


def linked_twice(path: Path) -> Path:
    way = linked(path)
    return linked_name(way, path.parent / "again.db")


def linked_name(target: Path, name: Path) -> Path:
    name.symlink_to(os.path.relpath(target, name.parent))
    return name


def linked_directory(path: Path) -> Path:
    way = beside(path).parent / "here"
    way.symlink_to(path.parent)
    return way / path.name


def hard_linked(path: Path) -> Path:
    way = beside(path)
    way.hardlink_to(path)
    return way


def without_its_lock_file(path: Path) -> Path:
    path.with_name("ledger.db.lock").unlink()
    return path


def replaced(path: Path) -> Path:
    """Its name is given to another ledger, while the first one is at work."""
    asyncio.run(filled(path.with_name("new.db"), 1))
    path.with_name("new.db").rename(path)
    return path


WAYS = [linked, linked_twice, linked_directory, hard_linked, without_its_lock_file]


@pytest.mark.parametrize("way", [*WAYS, replaced])
def test_a_ledger_that_is_held_is_refused_by_whatever_way(
    tmp_path: Path, way: Callable[[Path], Path]
) -> None:
    with another_holder(tmp_path / "ledger.db") as process:
        there = way(tmp_path / "ledger.db")
        with pytest.raises(LedgerLockedError) as caught:
            Ledger(there)
        assert caught.value.pid == str(process.pid)
        assert str(there) in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_whoever_asks_is_told_the_holder_by_whatever_way(
    tmp_path: Path, way: Callable[[Path], Path]
) -> None:
    with another_holder(tmp_path / "ledger.db") as process:
        there = way(tmp_path / "ledger.db")
        assert lock.holder(there) == str(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        assert lock.holder(there) == str(process.pid)
        process.kill()
        process.wait()
        assert lock.holder(there) is None


@pytest.mark.parametrize("way", [linked, linked_twice, linked_directory])
async def test_a_link_leads_to_the_one_ledger_with_the_one_log(
    tmp_path: Path, way: Callable[[Path], Path]
) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path, 5) as process:  # a kill leaves its log behind
        there = way(path)
        process.kill()
        process.wait()
    assert (tmp_path / "ledger.db-wal").stat().st_size > 0
    reader = LedgerReader(there)
    assert len(reader.ask(reports.select, reports.Wanted())) == 5
    reader.close()
    async with opened(there) as ledger:
        await ledger.see([a_sighting("/feed/one-more")])
        assert len(await files_of(ledger)) == 6
        with pytest.raises(LedgerLockedError):
            Ledger(path)
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 6


def test_a_link_that_leads_nowhere_makes_the_ledger_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "ledger.db").symlink_to("there/ledger.db")
    asyncio.run(filled(tmp_path / "ledger.db", 1))
    assert (tmp_path / "there" / "ledger.db").is_file()
    assert (tmp_path / "there" / "ledger.db.lock").is_file()


@pytest.mark.parametrize("target", ["private", "nowhere"])
def test_a_lock_file_is_never_reached_through_a_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "private").write_text("not ours\n")
    (tmp_path / "ledger.db.lock").symlink_to(target)
    with pytest.raises(LedgerError, match=r"ledger\.db\.lock cannot be used"):
        Ledger(tmp_path / "ledger.db")
    assert (tmp_path / "private").read_text() == "not ours\n"
    assert not (tmp_path / "nowhere").exists()
    assert lock.holder(tmp_path / "ledger.db") is None


def test_a_ledger_that_is_replaced_on_its_way_is_locked_as_what_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    asyncio.run(filled(path, 3))
    asyncio.run(filled(tmp_path / "new.db", 1))
    real = fcntl.flock

    def replace_first(fd: int, operation: int) -> None:
        if (tmp_path / "new.db").exists():
            (tmp_path / "new.db").rename(path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    ledger = Ledger(path)
    try:
        assert len(asyncio.run(files_of(ledger))) == 1
        (tmp_path / "ledger.db.lock").unlink()
        with pytest.raises(LedgerLockedError):
            Ledger(path)
    finally:
        asyncio.run(ledger.close())


def test_a_ledger_that_is_replaced_again_and_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    asyncio.run(filled(path, 3))
    real = fcntl.flock

    def replace(fd: int, operation: int) -> None:
        (tmp_path / "new.db").touch()
        (tmp_path / "new.db").rename(path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", replace)
    with pytest.raises(LedgerError, match="was replaced while it was opened"):
        Ledger(path)
    monkeypatch.undo()
    assert lock.holder(path) is None


def test_a_ledger_that_is_replaced_before_sqlite_opens_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    asyncio.run(filled(path, 3))
    asyncio.run(filled(tmp_path / "new.db", 1))
    from backupd.ledger import engine  # noqa: PLC0415 -- only to be replaced

    real = engine.open_for_writing

    def replace_first(given: Path, alive: Callable[[], None]) -> object:
        (tmp_path / "new.db").rename(path)
        return real(given, alive)

    monkeypatch.setattr(engine, "open_for_writing", replace_first)
    with pytest.raises(LedgerError, match="was replaced while it was opened"):
        Ledger(path)
    monkeypatch.undo()
    assert lock.holder(path) is None
    asyncio.run(filled(path, 0))


@contextmanager
def stopped_asker(path: Path) -> Iterator[int]:
    """A process that asks who holds the ledger, and is stopped in the middle of it."""
    command = [sys.executable, "-c", ASK, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asker:
        try:
            assert asker.stdout
            assert asker.stdout.readline() == "asked\n"
            os.waitid(os.P_PID, asker.pid, os.WSTOPPED | os.WNOWAIT)
            yield asker.pid
        finally:
            asker.kill()


def test_a_stopped_asker_keeps_no_daemon_out(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    asyncio.run(filled(path, 1))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(stopped_asker(path))
        asyncio.run(filled(path, 0))
        with another_holder(path) as process:
            assert lock.holder(path) == str(process.pid)


def test_who_asks_does_not_open_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path) as process:
        path.chmod(0)
        trace = ["strace", "-f", "-e", "trace=open,openat", sys.executable, "-c"]
        done = subprocess.run([*trace, ONCE, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(process.pid)
    assert str(path) + ".lock" in done.stderr
    assert f'"{path}"' not in done.stderr


def test_a_killed_holders_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with another_holder(path, child=True) as process:
        process.kill()
        process.wait()
        asyncio.run(filled(path, 0))


async def test_the_holders_own_locks_outlast_a_second_try_in_its_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        await ledger.see([a_sighting("/feed/1")])
        before = sqlite_locks(path)
        assert before
        with pytest.raises(LedgerLockedError):
            Ledger(path)
        assert lock.holder(path) == str(os.getpid())
        assert sqlite_locks(path) == before


def sqlite_locks(path: Path) -> list[list[str]]:
    """The POSIX locks that this process has on the database."""
    inode, pid = str(path.stat().st_ino), str(os.getpid())
    with open("/proc/locks") as locks:  # noqa: PTH123 -- no path of ours
        found = [line.split()[1:] for line in locks]
    return [
        fields
        for fields in found
        if (fields[0], fields[3], fields[4].rpartition(":")[2]) == ("POSIX", pid, inode)
    ]


def test_the_commands_tell_who_holds_a_ledger_that_is_reached_by_a_link(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"ledger.url": '"sqlite:///TMP/link.db"'})
    (tmp_path / "link.db").symlink_to("ledger.db")
    with another_holder(tmp_path / "ledger.db") as process:
        assert asked(config, "status")["daemon"]["pid"] == process.pid
        refused = admin(config, "hold", "/feed/0")
        assert refused.exit_code == 1
        assert f"process {process.pid} holds the ledger" in refused.stderr
        process.kill()
        process.wait()
        assert admin(config, "hold", "/feed/0").exit_code == 0
