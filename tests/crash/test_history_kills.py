"""SIGKILL at any moment while files leave the ledger: none is lost, none is there twice."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet as pq

from support.leaving import made

LONGEST = 0.8  # seconds from its beginning to its end by a kill: some batches
TESTS = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "support.leaving"]


@pytest.mark.parametrize(
    "kills", [5, pytest.param(60, marks=pytest.mark.slow)], ids="{} kills".format
)
def test_killed_at_any_moment(tmp_path: Path, kills: int) -> None:
    moments = random.Random(kills)
    half_way = 0
    for _ in range(kills):
        killed_after(tmp_path, moments.uniform(0, LONGEST))
        there, here = in_history(tmp_path), in_ledger(tmp_path)
        assert max(there.values(), default=1) == 1, "a story is there twice"
        assert set(made(tmp_path)) <= there.keys() | here, "a file is lost"
        half_way += bool(there and here)
    assert half_way, "every kill came before or after everything"

    subprocess.run([*COMMAND, tmp_path, "to-the-end"], cwd=TESTS, check=True, capture_output=True)

    assert in_history(tmp_path) == Counter(made(tmp_path))
    assert not in_ledger(tmp_path)
    assert remembered(tmp_path) == len(made(tmp_path))


def killed_after(directory: Path, seconds: float) -> None:
    command = [*COMMAND, str(directory)]
    with subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()


def in_history(directory: Path) -> Counter[str]:
    """What another reader sees there."""
    root = directory / "warehouse" / "history"
    return Counter(pq.read_table(root)["id"].to_pylist() if root.exists() else ())


def in_ledger(directory: Path) -> set[str]:
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger:
        return {file_id for (file_id,) in ledger.execute("SELECT id FROM files")}


def remembered(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "ledger.db")) as ledger:
        found: int = ledger.execute("SELECT count(*) FROM remembered").fetchone()[0]
    return found
