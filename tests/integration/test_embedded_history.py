"""The history in Parquet files: what it takes to look through it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.core.history import Past
from backupd.warehouse.embedded.history import EmbeddedHistory
from backupd.warehouse.embedded.roots import marked
from support.done_files import DONE_DATE, a_story
from support.warehouse_memory import Memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FILES = 30


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[EmbeddedHistory]:
    history = EmbeddedHistory(tmp_path, Memory(marked(tmp_path)))
    for number in range(FILES):
        await history.write(f"{number:020x}", DONE_DATE, [a_story(number), a_story(99 - number)])
    yield history
    await history.aclose()


async def test_the_files_of_a_date_are_opened_one_after_the_other(
    history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupd.warehouse.embedded.history._AT_ONCE", 1)
    before, most, number = _open_here(), 0, 0
    async for _ in history.find(Past()):
        most, number = max(most, _open_here()), number + 1
    assert number == 2 * FILES
    assert most - before < FILES / 2


async def test_in_order_the_stories_of_a_date_come_by_their_ids(history: EmbeddedHistory) -> None:
    ids = [story.file.id async for story in history.find(Past(in_order=True))]
    assert ids == sorted(ids)
    assert len(ids) == 2 * FILES


def _open_here() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
