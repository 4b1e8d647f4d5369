"""SIGKILL at any moment while files leave the ledger: none is lost, none is there twice."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet as pq

from support.killed_victims import killed_after, run_to_its_end
from support.leaving import made

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 0.8  # seconds from its beginning to its end by a kill: some batches
PROGRAM = "support.leaving"


@pytest.mark.parametrize(
    "kills", [5, pytest.param(60, marks=pytest.mark.slow)], ids="{} kills".format
)
def test_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    moments = random.Random(kills)
    half_way = 0
    for _ in range(kills):
        killed_after(PROGRAM, tmp_path, moments.uniform(0, LONGEST))
        there, here = in_history(tmp_path), in_ledger(tmp_path)
        assert max(there.values(), default=1) == 1, "a story is there twice"
        assert set(made(tmp_path)) <= there.keys() | here, "a file is lost"
        half_way += bool(there and here)
    assert half_way, "every kill came before or after everything"

    run_to_its_end(PROGRAM, tmp_path, "to-the-end")

    assert in_history(tmp_path) == Counter(made(tmp_path))
    assert not in_ledger(tmp_path)
    assert remembered(tmp_path) == len(made(tmp_path))


def in_history(directory: Path) -> Counter[str]:
    """What another reader sees there."""
    root = directory / "warehouse" / "history"
    has_any = any(root.rglob("[!.]*.parquet"))  # a directory without files has no columns
    return Counter(pq.read_table(root)["id"].to_pylist() if has_any else ())


def in_ledger(directory: Path) -> set[str]:
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger:
        return {file_id for (file_id,) in ledger.execute("SELECT id FROM files")}


def remembered(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger:
        found: int = ledger.execute("SELECT count(*) FROM remembered").fetchone()[0]
    return found
