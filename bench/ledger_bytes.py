"""How many bytes a file takes in the ledger: when it is done, and once it is folded."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from backupd.ledger import Ledger, stories
from bench import corpus, daemon
from bench.report import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from bench.daemon import Site

_AT_ONCE = 300  # as the lane folds them
_CASE = "ledger, a file"


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Take files through every stage, then fold their stories."""
    files = 1_000 if quick else 2_000
    inbox = directory / "inbox"
    site = daemon.site(directory / "state", inbox, directory / "archive")
    corpus.make(inbox, files, 1024)
    daemon.run_once(site)
    before = _bytes(site.ledger)
    seconds = fold(site)
    after = _bytes(site.ledger)
    tables = sorted(after, key=after.__getitem__, reverse=True)[:_NAMED]
    largest = ", ".join(f"{name} {after[name] / files:.0f}" for name in tables)
    return [
        Figure(
            case=_CASE,
            name="in the ledger",
            value=sum(after.values()) / files,
            unit="B",
            at_most=1500,
            note=f"{sum(before.values()) / files:.0f} B until it is folded; {largest}",
        ),
        Figure(
            case=_CASE,
            name="folded",
            value=files / seconds,
            unit="files/s",
            note=f"{_AT_ONCE} at once",
        ),
    ]


_NAMED = 5  # tables and indexes in the note


def fold(site: Site) -> float:
    """Fold what happened to all done files; return the seconds that it took. No daemon may run."""
    return asyncio.run(_fold(site.ledger))


async def _fold(path: Path) -> float:
    ledger = Ledger(path)
    began = time.perf_counter()
    try:
        while found := await ledger.ask(stories.foldings, time.time(), _AT_ONCE):
            await ledger.past.fold(found)
        return time.perf_counter() - began
    finally:
        await ledger.close()


def _bytes(ledger: Path) -> dict[str, int]:
    """Return the bytes of all pages in use, by table or index."""
    query = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name"
    with closing(sqlite3.connect(ledger)) as connection:
        return dict(connection.execute(query).fetchall())
