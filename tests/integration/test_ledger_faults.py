"""The disk under the ledger fails: it stops, says so, and leaves nothing half-written."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backupd.core import moves
from backupd.core.errors import LedgerError, PermanentError
from backupd.core.records import Result
from backupd.core.stages import Stage, Status
from backupd.ledger import Ledger
from support.files import NOW, POLICY, a_file, a_sighting
from support.intake import a_feed
from support.ledgers import files_of, numbered, opened, plant, story

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

FEED = a_feed("/feed")
TESTS = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - handed to another interpreter

# Sees files until the ledger takes no more, then says how many were confirmed, and what it said.
FILL = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from backupd.core.errors import LedgerError
from backupd.ledger import Ledger
from support.files import a_sighting
async def main():
    ledger = Ledger(Path(sys.argv[1]))
    confirmed = 0
    try:
        for n in range(int(sys.argv[3])):
            confirmed += len(await ledger.see([a_sighting(f"/feed/{n}-{i}") for i in range(10)]))
    except LedgerError as error:
        print(confirmed, error, error.hint, sep="\\n")
    try:
        await ledger.see([a_sighting("/feed/one-more")])
    except LedgerError:
        print("takes no more")
    try:
        await ledger.close()
    except Exception as error:
        print(f"close: {error!r}")
asyncio.run(main())
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A file system of 2 MiB, and what to run a program under to fill it.

    To mount it takes root. Without, every write from the 200th on is told that it is full.
    """
    directory = tmp_path / "small"
    directory.mkdir()
    if os.geteuid() != 0:
        yield directory, under_strace(tmp_path, "pwrite64:error=ENOSPC:when=200+")
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", directory], check=True)
    yield directory, []
    subprocess.run(["umount", directory], check=True)


def under_strace(directory: Path, inject: str) -> list[str]:
    syscall = inject.partition(":")[0]
    log = str(directory / "trace")
    return ["strace", "-f", "-o", log, "-e", f"trace={syscall}", "-e", f"inject={inject}"]


def fill(path: Path, rounds: int, *before: str) -> list[str]:
    """Run the program above, perhaps under another one; return its lines."""
    command = [*before, sys.executable, "-c", FILL, str(path), TESTS, str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def confirmed_files(path: Path) -> int:
    async with opened(path) as ledger:
        files = await files_of(ledger)
        for file in files:
            assert await story(ledger, file.id) == [("settle", "waiting", "first seen")]
    return len(files)


async def test_a_full_disk_stops_the_ledger_with_nothing_half_written(
    small_disk: tuple[Path, list[str]],
) -> None:
    directory, before = small_disk
    confirmed, error, hint, then = fill(directory / "ledger.db", 10_000, *before)
    assert "full" in error
    assert "make room" in hint
    assert then == "takes no more"
    roomy = directory.with_name("roomy")
    roomy.mkdir()
    for file in directory.iterdir():
        (roomy / file.name).write_bytes(file.read_bytes())
    assert int(confirmed) <= await confirmed_files(roomy / "ledger.db") <= int(confirmed) + 10


@pytest.mark.parametrize(
    ("syscall", "when"), [("fdatasync", 5), ("fdatasync", 15), ("pwrite64", 200), ("pwrite64", 301)]
)
async def test_an_input_output_error_stops_the_ledger_and_loses_nothing_confirmed(
    tmp_path: Path, syscall: str, when: int
) -> None:
    path = tmp_path / "ledger.db"
    before = under_strace(tmp_path, f"{syscall}:error=EIO:when={when}")
    confirmed, error, _, then = fill(path, 40, *before)
    assert "I/O error" in error
    assert then == "takes no more"
    assert int(confirmed) <= await confirmed_files(path) <= int(confirmed) + 10


async def test_one_request_that_fails_takes_its_whole_group_and_all_that_come_later(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        (file,) = await plant(ledger, a_file(Stage.SHIP))
        move = moves.advance(file, Result(changes={}, detail="well"), NOW)
        answers = await asyncio.gather(
            ledger.move([move]), ledger._writer.apply(_broken, [1]), return_exceptions=True
        )
        assert all(isinstance(answer, LedgerError) for answer in answers)
        assert isinstance(ledger.error, LedgerError)
        assert isinstance(ledger.error.__cause__, ZeroDivisionError)
        with pytest.raises(LedgerError):
            await ledger.move([move])
        (after,) = await files_of(ledger)
        assert (after.stage, after.status) == (Stage.SHIP, Status.WAITING)
        assert await story(ledger, file.id) == []


def _broken(_connection: Any, _items: Sequence[Any]) -> list[None]:  # noqa: ANN401 - SQLAlchemy's, which only the ledger names
    raise ZeroDivisionError


async def test_what_was_handed_over_is_written_though_nobody_waits_for_it_any_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    async with opened(path) as ledger:
        seeing = asyncio.create_task(ledger.see([a_sighting("/feed/1", feed=FEED)]))
        await asyncio.sleep(0)
        seeing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await seeing
    async with opened(path) as ledger:
        assert len(await files_of(ledger)) == 1


async def test_a_closed_ledger_refuses_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    await ledger.close()
    async with asyncio.timeout(5):
        with pytest.raises(LedgerError, match="closed"):
            await ledger.see([a_sighting("/feed/1", feed=FEED)])


async def test_a_text_that_is_no_unicode_stops_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.db") as ledger:
        await plant(ledger, *numbered(a_file(Stage.SHIP), 2))
        first, second = await ledger.claim(Stage.SHIP, 2, NOW, [FEED.name])
        odd = moves.failed(first, PermanentError("the server said: caf\udce9"), NOW, POLICY)
        well = moves.advance(second, Result(changes={}, detail="well"), NOW)
        answers = await asyncio.gather(ledger.move([odd]), ledger.move([well]))
        assert list(answers) == [[True], [True]]
        assert (await story(ledger, first.id))[-1][2] == "the server said: caf\\udce9"
        assert ledger.error is None
