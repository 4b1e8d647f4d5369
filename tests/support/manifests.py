"""Real files for the manifest stage, and what it says of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backupd.core.records import Identity
from backupd.core.shares import Shares
from backupd.core.stages import Stage
from backupd.stages import FeedThreads, Manifest
from support import files
from support.files import a_running_file
from support.intake import a_feed

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.records import FileRecord, Result, Task

NAME = "eLUX_HOL_01_20261123081500_000042.csv"
TIMESTAMP: dict[str, Any] = {
    "timestamp_regex": r"_(\d{14})",
    "timestamp_format": "%Y%m%d%H%M%S",
}


def seen(path: Path, **changes: object) -> FileRecord:
    """The file as settle saw it."""
    values: dict[str, Any] = {
        "path": str(path),
        "relative_path": path.name,
        "identity": Identity.of(path.lstat()),
        "companion_path": str(path.with_suffix(".cksum")),
        **changes,
    }
    return a_running_file(Stage.MANIFEST, **values)


def task_of(path: Path, file: FileRecord | None = None, **feed: object) -> Task:
    values: dict[str, Any] = {**TIMESTAMP, **feed}
    return files.task_of(file or seen(path), a_feed(path.parent, **values))


def read(task: Task, *, compress: bool = True) -> Result:
    return asyncio.run(reading(task, compress=compress))


async def reading(task: Task, *, compress: bool = True) -> Result:
    places = Shares(1)
    async with places.place(task.feed.name):
        return await Manifest(places, FeedThreads("manifest"), compress=compress)(task)


def a_real_file(directory: Path, content: bytes = b"id\n1\n2\n", name: str = NAME) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path
